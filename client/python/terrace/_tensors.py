"""How tensors lie in memory, as layouts of paged caches: client/layout.hpp in Python.

Takes tensors of torch, numpy, and whatever has data_ptr, __cuda_array_interface__,
__array_interface__ or __dlpack__, by their addresses and strides. Nothing is copied or moved.
"""

import ctypes
from collections.abc import Sequence
from ctypes import (POINTER, Structure, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64,
                    c_void_p, py_object, sizeof)
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from terrace._library import CacheLayoutStruct, StoredLayoutStruct
from terrace._memory import u32
from terrace._types import InvalidError, call


class Element(IntEnum):
    BF16 = 0
    FP16 = 1
    FP8_E4M3 = 2
    FP8_E5M2 = 3
    INT8 = 4
    FP32 = 5

    @property
    def nbytes(self) -> int:
        return {Element.FP32: 4, Element.BF16: 2, Element.FP16: 2}.get(self, 1)


class StoredType(IntEnum):
    LOSSLESS = 0
    FP8_E4M3 = 1
    INT8 = 2


class StoredOrder(IntEnum):
    TOKENS_FIRST = 0
    HEADS_FIRST = 1


class Form(IntEnum):
    """The usual tensors, as Layout.make takes them."""
    PARTS_FIRST_NHD = 0
    PARTS_FIRST_HND = 1
    PAGES_FIRST_NHD = 2
    PAGES_FIRST_HND = 3
    FUSED_NHD = 4
    FUSED_HND = 5
    SEPARATE_NHD = 6
    SEPARATE_HND = 7
    LATENT = 8
    CROSS_LAYER_NHD = 9
    CROSS_LAYER_HND = 10
    LBHNC = 11
    LBNHC = 12
    LHBNC = 13
    BLHNC = 14
    BLNHC = 15
    BHLNC = 16


@dataclass(frozen=True)
class Layout:
    """CacheLayout: strides in bytes."""
    layers: int
    parts: int
    pages: int
    page_tokens: int
    heads: int
    head_dim: int
    element: Element
    part_stride: int = 0
    page_stride: int = 0
    token_stride: int = 0
    head_stride: int = 0

    @staticmethod
    def make(form: Form, *, layers: int, pages: int, page_tokens: int, heads: int = 1,
             head_dim: int, element: Element) -> "tuple[Layout, int]":
        """The layout of dense tensors of that form, and the bytes from one layer to the next in
        one tensor of all layers (0: each layer has its own)."""
        asked = Layout(layers, 1, pages, page_tokens, heads, head_dim, element).struct()
        stride = c_int64()
        call("make_layout", form, asked, stride)
        made = Layout(asked.layers, asked.parts, pages, page_tokens, asked.heads,
                      asked.head_dim, element, asked.part_stride, asked.page_stride,
                      asked.token_stride, asked.head_stride)
        return made, stride.value

    def struct(self) -> CacheLayoutStruct:
        return CacheLayoutStruct(
            sizeof(CacheLayoutStruct), u32("layers", self.layers), u32("parts", self.parts),
            u32("pages", self.pages), u32("page_tokens", self.page_tokens),
            u32("heads", self.heads), u32("head_dim", self.head_dim), self.element,
            self.part_stride, self.page_stride, self.token_stride, self.head_stride)


@dataclass(frozen=True)
class StoredLayout:
    """What blocks look like where Terrace stores them. 0: as the cache has it."""
    block_tokens: int
    layers_total: int = 0
    first_layer: int = 0
    heads_total: int = 0
    first_head: int = 0
    order: StoredOrder = StoredOrder.HEADS_FIRST
    type: StoredType = StoredType.LOSSLESS
    group_tokens: int = 0

    def struct(self) -> StoredLayoutStruct:
        return StoredLayoutStruct(
            sizeof(StoredLayoutStruct), u32("block_tokens", self.block_tokens),
            u32("layers_total", self.layers_total), u32("first_layer", self.first_layer),
            u32("heads_total", self.heads_total), u32("first_head", self.first_head),
            self.order, self.type, u32("group_tokens", self.group_tokens), 0)


class _DlTensor(Structure):
    """DLTensor of the DLPack specification."""
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32),
                ("ndim", c_int32), ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16),
                ("shape", POINTER(c_int64)), ("strides", POINTER(c_int64)),
                ("byte_offset", c_uint64)]


_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes = (py_object, c_char_p)
_capsule_pointer.restype = c_void_p

_DL_CPU, _DL_CUDA = (1, 3), (2,)  # 3: host memory that is pinned for CUDA
_DL_ELEMENTS = {(4, 16): Element.BF16, (2, 16): Element.FP16, (2, 32): Element.FP32,
                (0, 8): Element.INT8, (10, 8): Element.FP8_E4M3, (12, 8): Element.FP8_E5M2}
_NAMED_ELEMENTS = {"bfloat16": Element.BF16, "float16": Element.FP16, "float32": Element.FP32,
                   "int8": Element.INT8, "float8_e4m3fn": Element.FP8_E4M3,
                   "float8_e5m2": Element.FP8_E5M2, "f2": Element.FP16, "f4": Element.FP32,
                   "i1": Element.INT8}


@dataclass
class View:
    """Where a tensor lies. `keep` holds it there."""
    name: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    itemsize: int
    element: Element | None  # None: a type without a name for it, such as 16 bits
    dtype: str
    device: int | None  # None: the CPU
    keep: Any


def _dense(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    strides, step = [], itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _of_torch(name: str, tensor: Any) -> View:
    dtype = str(tensor.dtype).rpartition(".")[2]
    size = int(tensor.element_size())
    device = getattr(tensor, "device", None)
    kind = getattr(device, "type", "cpu")
    if kind not in ("cpu", "cuda"):
        raise InvalidError(f"{name} is on the device {kind}, neither cpu nor cuda")
    number = None if kind == "cpu" else int(getattr(device, "index", 0) or 0)
    return View(name, int(tensor.data_ptr()), tuple(tensor.shape),
                tuple(int(step) * size for step in tensor.stride()), size,
                _NAMED_ELEMENTS.get(dtype), dtype, number, tensor)


def _of_interface(name: str, tensor: Any, interface: Any, device: int | None) -> View:
    address, read_only = interface["data"]
    if read_only:
        raise InvalidError(f"{name} is read-only")
    typestr = interface["typestr"]
    if typestr[0] == ">":
        raise InvalidError(f"{name} is {typestr}, of the other byte order")
    size = int(typestr[2:])
    shape = tuple(interface["shape"])
    strides = interface.get("strides") or _dense(shape, size)
    return View(name, address, shape, tuple(strides), size, _NAMED_ELEMENTS.get(typestr[1:]),
                typestr, device, tensor)


def _of_dlpack(name: str, tensor: Any) -> View:
    capsule = tensor.__dlpack__()
    its = _DlTensor.from_address(_capsule_pointer(capsule, b"dltensor"))
    if its.device_type not in _DL_CPU + _DL_CUDA or its.lanes != 1:
        raise InvalidError(f"{name} is of DLPack device {its.device_type} with {its.lanes} lanes, "
                           f"neither CPU nor CUDA with 1")
    shape = tuple(its.shape[:its.ndim])
    size = its.bits // 8
    strides = (tuple(step * size for step in its.strides[:its.ndim]) if its.strides
               else _dense(shape, size))
    return View(name, (its.data or 0) + its.byte_offset, shape, strides, size,
                _DL_ELEMENTS.get((its.code, its.bits)), f"DLPack {its.code}:{its.bits}",
                its.device_id if its.device_type in _DL_CUDA else None, (tensor, capsule))


def view_of(name: str, tensor: Any) -> View:
    if hasattr(tensor, "data_ptr") and hasattr(tensor, "stride"):
        return _of_torch(name, tensor)
    interface = getattr(tensor, "__cuda_array_interface__", None)
    if interface is not None:
        return _of_interface(name, tensor, interface, 0)
    interface = getattr(tensor, "__array_interface__", None)
    if interface is not None:
        return _of_interface(name, tensor, interface, None)
    if hasattr(tensor, "__dlpack__"):
        return _of_dlpack(name, tensor)
    raise InvalidError(f"{name} is a {type(tensor).__name__}, with none of data_ptr, "
                       f"__cuda_array_interface__, __array_interface__ and __dlpack__")


def device_memory_of(name: str, tensor: Any) -> tuple[int, int]:
    """Address and bytes of a contiguous tensor on a CUDA device."""
    view = view_of(name, tensor)
    if view.device is None:
        raise InvalidError(f"{name} is in CPU memory, not on a GPU: use register")
    if view.strides != _dense(view.shape, view.itemsize):
        raise InvalidError(f"{name} is not contiguous: its bytes do not lie one after the other")
    nbytes = view.itemsize
    for size in view.shape:
        nbytes *= size
    return view.address, nbytes


AXES = ("layers", "parts", "pages", "tokens", "heads", "dim", "slots")


def _views(tensors: Any, element: Element | None) -> list[View]:
    if not isinstance(tensors, (list, tuple)):
        tensors = [tensors]
    views = [view_of(f"tensors[{index}]", tensor) for index, tensor in enumerate(tensors)]
    if not views:
        raise InvalidError("tensors is empty")
    first = views[0]
    for view in views:
        for what, its, wanted in (("dtype", view.dtype, first.dtype),
                                  ("shape", view.shape, first.shape),
                                  ("strides", view.strides, first.strides),
                                  ("device", view.device, first.device)):
            if its != wanted:
                raise InvalidError(f"{view.name} has {what} {its}, and tensors[0] {wanted}")
    known = first.element if element is None else element
    if known is None:
        raise InvalidError(f"tensors[0] has dtype {first.dtype}: say which `element` that is")
    if known.nbytes != first.itemsize or first.element not in (None, known):
        raise InvalidError(f"tensors[0] has dtype {first.dtype}, and element is {known.name}")
    first.element = known
    return views


def layout_of(tensors: Any, axes: Sequence[str], *, page_tokens: int = 0,
              element: Element | None = None) -> tuple[Layout, list[int], list[View]]:
    """The layout of a cache of these tensors, the addresses of its layers, and what holds them.

    `axes` names each dimension: pages, tokens and dim, and where there are any parts (K and V),
    heads, and layers (one tensor of all of them; else there is one tensor for each layer, or K and
    V of each layer one after the other). `slots` is pages and tokens in one, page_tokens each.
    `element`: what the dtype does not say, such as bf16 in 16-bit integers of numpy.
    """
    views = _views(tensors, element)
    first = views[0]
    assert first.element is not None
    if len(axes) != len(first.shape) or len(set(axes)) != len(axes) or \
            not set(axes) <= set(AXES):
        raise InvalidError(f"axes is {tuple(axes)}: name each of the {len(first.shape)} "
                           f"dimensions of tensors[0] once, of {AXES}")
    size = dict(zip(axes, first.shape))
    step = dict(zip(axes, first.strides))
    if "slots" in size:
        if page_tokens < 1 or size["slots"] % page_tokens != 0 or "pages" in size or \
                "tokens" in size:
            raise InvalidError(f"axes has slots, {size['slots']} of them: page_tokens "
                               f"{page_tokens} must divide them, and pages and tokens be absent")
        size["pages"], size["tokens"] = size["slots"] // page_tokens, page_tokens
        step["pages"], step["tokens"] = step["slots"] * page_tokens, step["slots"]
    for needed in ("pages", "tokens", "dim"):
        if needed not in size:
            raise InvalidError(f"axes is {tuple(axes)}, without {needed}")
    if step["dim"] != first.itemsize and size["dim"] > 1:
        raise InvalidError(f"tensors[0] has elements of dim {step['dim']} bytes apart, not "
                           f"{first.itemsize}: dim must be contiguous")
    if "layers" in size and len(views) != 1:
        raise InvalidError(f"axes has layers, and tensors has {len(views)} tensors, not 1")
    if "layers" in size:
        bases = [first.address + layer * step["layers"] for layer in range(size["layers"])]
    else:
        bases = [view.address for view in views]
    layout = Layout(len(bases), size.get("parts", 1), size["pages"], size["tokens"],
                    size.get("heads", 1), size["dim"], first.element, step.get("parts", 0),
                    step["pages"], step["tokens"], step.get("heads", 0))
    return layout, bases, views
