"""What calls give back that has a life of its own: lent blocks, leases, reservations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from terrace._memory import array_at
from terrace._event_types import EventBatch, batch_of
from terrace._types import (BlockResult, BlockResults, Error, ExpiredError, GroupPresence,
                            InvalidError, LoadSource, Match, Result, Status, Tier, call, error_of)

if TYPE_CHECKING:
    from terrace._calls import Client


class LentBlock:
    """A block in the daemon's own memory, lent for reading. A context manager.

    Read, then release, and use what was read only when that did not raise ExpiredError: leaving
    the `with` does it. A view that is kept longer stays readable, but may show another block.

    On a GPU (`on_gpu`) the block is what torch.as_tensor(block) or cupy.asarray(block) shows: bytes
    that are never to be written, though the GPU lets one. Synchronize before it is released.
    """

    def __init__(self, result: Result, index: int) -> None:
        lent = result.answer.lent[index]
        self.status = Status(lent.status)
        self.tier = Tier(lent.tier)
        self.valid_tokens: int = lent.valid_tokens
        self.nbytes: int = lent.length
        self.address: int = lent.data or 0
        self.on_gpu = lent.on_gpu != 0
        self._result = result
        self._index = index
        self._lent = self.status is Status.OK

    @property
    def buffer(self) -> memoryview:
        """The block, read-only, without a copy."""
        if not self._lent:
            raise InvalidError(f"block {self._index} is not lent: {self.status.name.lower()}, or "
                               f"it was released")
        if self.on_gpu:
            raise InvalidError(f"block {self._index} lies on a GPU: see __cuda_array_interface__")
        array = array_at(self.address, self.nbytes, self._result)
        return memoryview(array).cast("B").toreadonly()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The block on its GPU. Keep this object for as long as what shows it.

        Never to be written, although the interface does not say so: torch takes nothing that is
        read-only.
        """
        if not self._lent or not self.on_gpu:
            raise AttributeError(f"block {self._index} is not lent on a GPU")
        return {"data": (self.address, False), "shape": (self.nbytes,), "strides": None,
                "typestr": "|u1", "version": 3}

    @property
    def intact(self) -> bool:
        """What was read until now is the block."""
        try:
            call("lent_intact", self._result.handle, self._index)
        except ExpiredError:
            return False
        return True

    def release(self) -> None:
        """Gives it back. ExpiredError: what was read must not be used."""
        self._lent = False
        call("lent_release", self._result.handle, self._index)

    def __enter__(self) -> "LentBlock":
        if self.status is not Status.OK:
            raise error_of(self.status, f"block {self._index} was not lent")
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if self._lent and kind is None:
            self.release()
        elif self._lent:
            _quietly(self.release)


class LentBlocks(Sequence[LentBlock]):
    """One per position that was asked. A context manager: leaving it releases those that are left,
    and raises ExpiredError when one of them must not be used."""

    def __init__(self, result: Result) -> None:
        self._blocks = [LentBlock(result, i) for i in range(result.answer.lent_count)]

    @overload
    def __getitem__(self, index: int) -> LentBlock: ...
    @overload
    def __getitem__(self, index: slice) -> list[LentBlock]: ...
    def __getitem__(self, index: int | slice) -> LentBlock | list[LentBlock]:
        return self._blocks[index]

    def __len__(self) -> int:
        return len(self._blocks)

    def __enter__(self) -> "LentBlocks":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        expired: Error | None = None
        for block in self._blocks:
            if block._lent:
                expired = _quietly(block.release) or expired
        if expired is not None and kind is None:
            raise expired


def _quietly(release: Any) -> Error | None:
    try:
        release()
    except Error as error:
        return error
    return None


class Lease:
    """Holds what a match found where it is. A context manager: leaving it ends the lease."""

    def __init__(self, client: "Client", number: int) -> None:
        self.id = number
        self._client = client

    def renew(self, seconds: float = 0, *, timeout: float | None = None) -> None:
        """From now on for so long; 0 is the daemon's default. ExpiredError: it had ended."""
        self._client._renew(self.id, seconds, timeout)

    def submit_renew(self, seconds: float = 0, *, timeout: float | None = None) -> int:
        """Like renew, but returns at once, with a ticket."""
        return self._client._submit_renew(self.id, seconds, timeout)

    def release(self) -> None:
        call("release_lease", self._client._number(), self.id)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._client.closed:
            self.release()


class PrefixMatch(NamedTuple):
    """After how many blocks the engine can continue, and where every block stands."""
    longest: int
    stops: list[int]
    found: list[GroupPresence]
    lease: Lease | None
    lease_status: Status
    load_from: Sequence[LoadSource] = ()
    result: Any = None  # what `plan` reads


def prefix_of(result: Result, client: Any) -> PrefixMatch:
    answer = result.answer
    lease = Lease(client, answer.lease) if answer.lease else None
    return PrefixMatch(answer.matched, [answer.stops[i] for i in range(answer.stop_count)],
                       result.presence(), lease, Status(answer.lease_status),
                       result.load_from(), result)


class Reservation:
    """A block that several writers fill. A context manager: leaving it without a commit aborts."""

    def __init__(self, client: "Client", status: Status, token: bytes) -> None:
        self.status = status
        self.token = token  # for the other writers
        self._client = client
        self._open = status is Status.OK

    def write(self, fragments: Any, pieces: Any, *, timeout: float | None = None) -> BlockResults:
        return self._client.write(self.token, fragments, pieces, timeout=timeout)

    def commit(self, *, durable: bool = False, timeout: float | None = None) -> BlockResult:
        done = self._client.commit(self.token, durable=durable, timeout=timeout)
        self._open = False
        return done

    def abort(self, *, timeout: float | None = None) -> None:
        self._open = False
        self._client.abort(self.token, timeout=timeout)

    def __enter__(self) -> "Reservation":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if self._open and not self._client.closed:
            error = _quietly(self.abort)
            if error is not None and kind is None:
                raise error


class Completion:
    """The end of a submitted call. What it answers is read by the name of the call."""

    def __init__(self, result: Result, client: Any) -> None:
        self._result = result
        self._client = client
        self.ticket: int = result.answer.ticket
        self.status = Status(result.answer.status)

    def raise_for_status(self) -> None:
        self._result.raise_for_status()

    def give_back(self) -> None:
        """What nobody will use: a lease, a reservation, blocks that are lent. Never waits."""
        answer = self._result.answer
        if answer.status == 0 and answer.lease:
            call("release_lease", self._client._number(), answer.lease)
        token = bytes(answer.token.bytes)
        if answer.status == 0 and any(token):
            self._client.submit_abort(token)
        for index in range(answer.lent_count):
            if answer.lent[index].status == 0:
                _quietly(LentBlock(self._result, index).release)

    @property
    def blocks(self) -> BlockResults:
        """Of get, put, remove and all others that answer per block."""
        self.raise_for_status()
        return self._result.blocks()

    @property
    def match(self) -> Match:
        self.raise_for_status()
        return self._result.match()

    @property
    def lent(self) -> LentBlocks:
        self.raise_for_status()
        return LentBlocks(self._result)

    @property
    def prefix(self) -> PrefixMatch:
        self.raise_for_status()
        return prefix_of(self._result, self._client)

    @property
    def reservation(self) -> Reservation:
        self.raise_for_status()
        answer = self._result.answer
        return Reservation(self._client, Status(answer.reservation), bytes(answer.token.bytes))

    @property
    def events(self) -> EventBatch:
        """Of submit_read_events and submit_read_snapshot."""
        self.raise_for_status()
        return batch_of(self._result)

    @property
    def region(self) -> Any:
        """Of submit_register and submit_allocate: the Region. Once."""
        self.raise_for_status()
        return self._client._adopt_of(self.ticket, self._result.answer.region)
