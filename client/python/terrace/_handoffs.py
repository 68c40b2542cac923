"""Client: hand-off, a chain sent layer by layer to who waits for it."""

from ctypes import c_uint64, sizeof
from typing import Any

from terrace._client import BlockCalls, Namespace, Prepared, milliseconds, token_of
from terrace._library import HandoffStruct, TokenStruct
from terrace._memory import Chain, u32
from terrace._types import BlockResults, call


class HandoffCalls(BlockCalls):
    """A producer opens a hand-off and sends stretches of its blocks; receivers, who were given the
    token, get each as soon as it is there. `token`: 32 bytes. `timeout` is in seconds."""

    def new_handoff(self) -> bytes:
        """Names a new hand-off. Never waits; the token may travel before it is opened."""
        token = TokenStruct()
        call("new_handoff", self._number(), token)
        return bytes(token.bytes)

    def _open(self, token: bytes, target: tuple[Any, ...], first: int, count: int, patience: float,
              keep: float, receivers: int, last_valid_tokens: int) -> Prepared:
        options = HandoffStruct(sizeof(HandoffStruct), u32("receivers", receivers),
                                milliseconds("patience", patience), milliseconds("keep", keep),
                                u32("last_valid_tokens", last_valid_tokens), 0)
        return self._range("open_handoff", (*target, token_of(token)), first, count, options)

    def open_handoff(self, token: bytes, space: Namespace, chain: Chain, first: int, count: int,
                     *, group: int = 0, shard: int = 0, patience: float = 0, keep: float = 0,
                     receivers: int = 1, last_valid_tokens: int = 0,
                     timeout: float | None = None) -> BlockResults:
        """Opens it over blocks [first, first + count). Per block OK: to be sent; EXISTS: stored
        already; PENDING: somebody else brings it; RETRY: no room. `patience` and `keep` are in
        seconds; 0 is the daemon's default, 10 and 30."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._open(token, target, first, count, patience, keep, receivers,
                                           last_valid_tokens), timeout)

    def submit_open_handoff(self, token: bytes, space: Namespace, chain: Chain, first: int,
                            count: int, *, group: int = 0, shard: int = 0, patience: float = 0,
                            keep: float = 0, receivers: int = 1, last_valid_tokens: int = 0,
                            timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._open(token, target, first, count, patience, keep, receivers,
                                       last_valid_tokens), timeout)

    def send(self, token: bytes, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
             group: int = 0, shard: int = 0, timeout: float | None = None) -> BlockResults:
        """Sends one stretch (BlockPieces.range) of each of these blocks: every byte of a block
        once. When its last bytes were sent, the block is visible to everybody."""
        target = (*self._target(space, chain, group, shard), token_of(token))
        return self._run_blocks(self._pieces("send", target, blocks, pieces), timeout)

    def submit_send(self, token: bytes, space: Namespace, chain: Chain, blocks: Any, pieces: Any,
                    *, group: int = 0, shard: int = 0, timeout: float | None = None) -> int:
        target = (*self._target(space, chain, group, shard), token_of(token))
        return self._submit(self._pieces("send", target, blocks, pieces), timeout)

    def receive(self, token: bytes, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                group: int = 0, shard: int = 0, timeout: float | None = None) -> BlockResults:
        """As get_pieces, but waits for what has not been sent yet. CANCELLED: the producer aborted
        it; PEER_DEAD: it has gone; EXPIRED: it stood still, or the daemon was restarted."""
        target = (*self._target(space, chain, group, shard), token_of(token))
        return self._run_blocks(self._pieces("receive", target, blocks, pieces), timeout)

    def submit_receive(self, token: bytes, space: Namespace, chain: Chain, blocks: Any,
                       pieces: Any, *, group: int = 0, shard: int = 0,
                       timeout: float | None = None) -> int:
        target = (*self._target(space, chain, group, shard), token_of(token))
        return self._submit(self._pieces("receive", target, blocks, pieces), timeout)

    def get_arriving(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                     group: int = 0, shard: int = 0, timeout: float | None = None) -> BlockResults:
        """As get_pieces, but waits until the blocks are stored, whoever puts them."""
        target = self._target(space, chain, group, shard)
        return self._run_blocks(self._pieces("get_arriving", target, blocks, pieces), timeout)

    def submit_get_arriving(self, space: Namespace, chain: Chain, blocks: Any, pieces: Any, *,
                            group: int = 0, shard: int = 0, timeout: float | None = None) -> int:
        target = self._target(space, chain, group, shard)
        return self._submit(self._pieces("get_arriving", target, blocks, pieces), timeout)

    def ack_handoff(self, token: bytes, *, timeout: float | None = None) -> None:
        """This receiver is done: after the last one nothing pins the blocks."""
        call("ack_handoff", self._number(), token_of(token), self._deadline(timeout))

    def submit_ack_handoff(self, token: bytes, *, timeout: float | None = None) -> int:
        ticket = c_uint64()
        call("submit_ack_handoff", self._number(), token_of(token), self._deadline(timeout), ticket)
        return ticket.value

    def abort_handoff(self, token: bytes, *, timeout: float | None = None) -> None:
        """Gives up what is not complete; what is stays stored."""
        call("abort_handoff", self._number(), token_of(token), self._deadline(timeout))

    def submit_abort_handoff(self, token: bytes, *, timeout: float | None = None) -> int:
        ticket = c_uint64()
        call("submit_abort_handoff", self._number(), token_of(token), self._deadline(timeout),
             ticket)
        return ticket.value
