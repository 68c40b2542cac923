"""Memory of the caller's: buffers without a copy, arrays of records, regions."""

import ctypes
import weakref
from collections.abc import Iterable, Sequence
from ctypes import POINTER, c_int, c_ssize_t, c_uint8, c_uint32, c_void_p, py_object
from struct import Struct
from typing import TYPE_CHECKING, Any

from terrace._library import HintsStruct
from terrace._types import Block, Hints, InvalidError, call

if TYPE_CHECKING:
    from terrace._client import ClientBase


class _PyBuffer(ctypes.Structure):
    """Py_buffer of CPython."""
    _fields_ = [("buf", c_void_p), ("obj", py_object), ("len", c_ssize_t),
                ("itemsize", c_ssize_t), ("readonly", c_int), ("ndim", c_int),
                ("format", c_void_p), ("shape", c_void_p), ("strides", c_void_p),
                ("suboffsets", c_void_p), ("internal", c_void_p)]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (py_object, POINTER(_PyBuffer), c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (POINTER(_PyBuffer),)
_release_buffer.restype = None


class Pinned:
    """The memory of an object, held in place as long as this lives. Nothing is copied.

    Takes whatever has the buffer protocol (bytes, bytearray, memoryview, mmap, numpy), and CPU
    tensors of torch, of every dtype, by their data_ptr. InvalidError names `argument`.
    """

    def __init__(self, argument: str, target: Any) -> None:
        self._view: _PyBuffer | None = None
        self.target = target
        if hasattr(target, "data_ptr") and hasattr(target, "is_contiguous"):
            device = getattr(getattr(target, "device", None), "type", "cpu")
            if device != "cpu":
                raise InvalidError(f"{argument} is on the device {device}, not in CPU memory")
            if not target.is_contiguous():
                raise InvalidError(f"{argument} is not contiguous: pass {argument}.contiguous()")
            self.address: int = target.data_ptr()
            self.nbytes: int = target.element_size() * target.nelement()
            self.readonly = False
            return
        try:
            contiguous = memoryview(target).c_contiguous
        except TypeError:
            raise InvalidError(f"{argument} is a {type(target).__name__}, which has no buffer"
                               ) from None
        if not contiguous:
            raise InvalidError(f"{argument} is not contiguous (in C order): its bytes do not lie "
                               f"one after the other")
        view = _PyBuffer()
        _get_buffer(target, view, 0)
        self._view = view
        self.address = view.buf or 0
        self.nbytes = view.len
        self.readonly = bool(view.readonly)

    def __del__(self) -> None:
        if getattr(self, "_view", None) is not None:
            _release_buffer(self._view)


class DevicePinned(Pinned):
    """A tensor on a GPU, held in place as long as this lives. Its bytes cannot be looked at."""

    def __init__(self, target: Any, address: int, nbytes: int) -> None:
        self._view = None
        self.target = target
        self.address = address
        self.nbytes = nbytes
        self.readonly = False


class Records:
    """An array of fixed-size records for a call, from a buffer as it is or packed from tuples."""

    def __init__(self, argument: str, records: Any, layout: Struct) -> None:
        self.keep: Any
        if isinstance(records, Sequence) and not isinstance(records, (bytes, bytearray,
                                                                      memoryview)):
            packed = bytearray(len(records) * layout.size)
            for index, record in enumerate(records):
                try:
                    layout.pack_into(packed, index * layout.size, *record)
                except Exception as error:
                    raise InvalidError(f"{argument}[{index}] is {record!r}: {error}") from None
            records = packed
        self.keep = Pinned(argument, records)
        if self.keep.nbytes % layout.size != 0:
            raise InvalidError(f"{argument} has {self.keep.nbytes} bytes, no multiple of the "
                               f"{layout.size} of one record")
        self.address: int = self.keep.address
        self.count: int = self.keep.nbytes // layout.size
        self.words = layout.size // 4

    def column(self, word: int) -> list[int]:
        """One 32-bit field of all records."""
        every = (c_uint32 * (self.count * self.words)).from_address(self.address)
        return every[word::self.words]


def u32(argument: str, value: int, most: int = 0xffffffff) -> int:
    """ctypes would cut a number that does not fit."""
    if not 0 <= value <= most:
        raise InvalidError(f"{argument} is {value}, not 0 to {most}")
    return value


def u64(argument: str, value: int) -> int:
    """Likewise."""
    if not 0 <= value <= 0xffffffffffffffff:
        raise InvalidError(f"{argument} is {value}, not 0 to {0xffffffffffffffff}")
    return value


def text(argument: str, value: str) -> bytes:
    """For C, where a text ends with its first zero."""
    if not isinstance(value, str):
        raise InvalidError(f"{argument} is {value!r}, not a text")
    if "\0" in value:
        raise InvalidError(f"{argument} has a zero at {value.index(chr(0))}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"{argument} is no UTF-8 at {error.start}") from error


BLOCK = Struct("=IIQI4x")
PIECE = Struct("=QQI4x")
BLOCK_PIECES = Struct("=III4xQQQI4x")
FRAGMENT = Struct("=QI4x")
POSITION = Struct("=I")


def array_at(address: int, nbytes: int, owner: Any) -> Any:
    """Memory of the library's. Views of it, numpy's too, keep `owner` alive."""
    array: Any = (c_uint8 * nbytes).from_address(address)
    array.owner = owner
    return array


class Region:
    """Registered memory, to be named in blocks and pieces. A context manager.

    `buffer` shows it without a copy. Memory that the library allocated is freed when the region,
    or its client, was closed and no view of it is left.
    """

    def __init__(self, client: "ClientBase", number: int, address: int, nbytes: int,
                 pinned: Pinned | None) -> None:
        self.id = number
        self.address = address
        self.nbytes = nbytes
        self.writable = pinned is None or not pinned.readonly
        self._client = client
        self._pinned = pinned
        self._array: weakref.ref[Any] | None = None
        self.closed = False

    @property
    def buffer(self) -> memoryview:
        if self.closed:
            raise InvalidError(f"region {self.id} was closed")
        if isinstance(self._pinned, DevicePinned):
            raise InvalidError(f"region {self.id} is memory of a GPU, which has no buffer here")
        if self._pinned is not None and self._view_is_possible():
            return memoryview(self._pinned.target).cast("B")
        array = self._array() if self._array is not None else None
        if array is None:
            array = array_at(self.address, self.nbytes, (self._client._handle, self._pinned))
            self._array = weakref.ref(array)
        view = memoryview(array).cast("B")
        return view if self.writable else view.toreadonly()

    def _view_is_possible(self) -> bool:
        return self._pinned is not None and not hasattr(self._pinned.target, "data_ptr") and \
            memoryview(self._pinned.target).format in ("B", "b", "c")

    def blocks(self, count: int, block_bytes: int, *, first: int = 0,
               offset: int = 0) -> list[Block]:
        """Blocks first, first + 1, ... of a chain, one after the other from `offset` on."""
        return [Block(first + i, self.id, offset + i * block_bytes) for i in range(count)]

    def close(self) -> None:
        """Deregisters the memory. RetryError while calls use it."""
        if self.closed:
            return
        array = self._array() if self._array is not None else None
        if self._pinned is None and array is not None:
            # Somebody still looks at memory of the library's: it goes with the last view.
            weakref.finalize(array, _deregister_quietly, self._client._handle, self.id)
        else:
            call("deregister_memory", self._client._number(), self.id)
        self.closed = True
        self._client._forget(self)

    def quiesce(self, timeout: float | None = None) -> None:
        """Returns once nothing can write into it any more; DeadlineError otherwise."""
        call("quiesce", self._client._number(), self.id, self._client._deadline(timeout))

    def __enter__(self) -> "Region":
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._client.closed:
            self.close()

    def __repr__(self) -> str:
        return f"Region({self.id}, {self.nbytes} bytes)"


def _deregister_quietly(handle: Any, number: int) -> None:
    try:
        call("deregister_memory", handle.value, number)
    except Exception:  # in use: it goes with its client
        pass


def _hints_of(hints: Hints) -> HintsStruct:
    if hints.will_continue and hints.done:
        raise InvalidError("hints.done and hints.will_continue are both true")
    return HintsStruct(ctypes.sizeof(HintsStruct), u32("hints.turn", hints.turn),
                       text("hints.session", hints.session),
                       text("hints.category", hints.category),
                       1 if hints.will_continue else 2 if hints.done else 0)


class Chain:
    """Keys of a prompt's blocks in prefix order, each 1 to 64 bytes, and what is known of the
    request that they are of: `hints` go with every call that is given the chain."""

    def __init__(self, keys: Any = (), *, key_bytes: int | None = None,
                 hints: Hints | None = None) -> None:
        handle = ctypes.c_uint64()
        call("chain_new", handle)
        self.handle: int = handle.value
        self._hints: Hints | None = None
        if hints is not None:
            self.hints = hints
        self.append(keys, key_bytes=key_bytes)

    @property
    def hints(self) -> Hints | None:
        """May be set anew between calls; None: nothing is known."""
        return self._hints

    @hints.setter
    def hints(self, hints: Hints | None) -> None:
        call("chain_hint", self.handle, None if hints is None else _hints_of(hints))
        self._hints = hints

    def append(self, keys: Any, *, key_bytes: int | None = None) -> None:
        """Appends keys: an iterable of bytes, or, with key_bytes, one buffer that holds all of
        them one after the other (a numpy array of hashes)."""
        if key_bytes is not None:
            pinned = Pinned("keys", keys)
            if key_bytes < 1 or pinned.nbytes % key_bytes != 0:
                raise InvalidError(f"keys has {pinned.nbytes} bytes, no multiple of key_bytes "
                                   f"{key_bytes}")
            call("chain_append", self.handle, pinned.address, key_bytes,
                 pinned.nbytes // key_bytes)
            return
        listed = self._listed(keys)
        lengths = (c_uint32 * len(listed))(*map(len, listed))
        call("chain_append_each", self.handle, b"".join(listed), lengths, len(listed))

    @staticmethod
    def _listed(keys: Iterable[bytes]) -> list[bytes]:
        if isinstance(keys, (bytes, bytearray, str)):
            raise InvalidError(f"keys is one {type(keys).__name__}: pass a list of keys, or "
                               f"key_bytes")
        listed = list(keys)
        for index, key in enumerate(listed):
            if not isinstance(key, (bytes, bytearray)):
                raise InvalidError(f"keys[{index}] is a {type(key).__name__}, not bytes")
        return listed

    def clear(self) -> None:
        """No keys and no hints any more."""
        call("chain_clear", self.handle)
        self._hints = None

    def __len__(self) -> int:
        size = c_uint32()
        call("chain_size", self.handle, size)
        return size.value

    def __del__(self) -> None:
        try:
            call("chain_free", self.handle)
        except Exception:  # the interpreter ends, or there never was one
            pass
