#!/usr/bin/env python3
"""Paged caches in Python, against a real daemon: tensors as they lie, without a copy.

Usage: python_paged_test.py TERRACED; as python_test.py, whose daemon it uses.
"""

import sys
import unittest
from typing import Any

import numpy

import python_test
import terrace

LAYERS, PAGES, TOKENS, HEADS, DIM = 3, 32, 16, 4, 64
AXES = ("parts", "pages", "tokens", "heads", "dim")
STORED = terrace.StoredLayout(block_tokens=32)


class FakeTensor:
    """What torch's tensors have, over an array of numpy. torch is not needed here."""

    def __init__(self, array: Any, dtype: str = "torch.bfloat16", device: str = "cpu") -> None:
        self.array, self.dtype = array, dtype
        self.device = type("device", (), {"type": device, "index": 0})()
        self.shape = array.shape

    def data_ptr(self) -> int:
        return int(self.array.__array_interface__["data"][0])

    def stride(self) -> tuple[int, ...]:
        return tuple(step // self.array.itemsize for step in self.array.strides)

    def element_size(self) -> int:
        return int(self.array.itemsize)


class DlTensor:
    """A tensor that has DLPack and nothing else."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self) -> Any:
        return self.array.__dlpack__()


def caches(dtype: str = "uint16", seed: int = 1) -> list[Any]:
    random = numpy.random.default_rng(seed)
    shape = (2, PAGES, TOKENS, HEADS, DIM)
    return [random.integers(0, 1 << 16, shape, numpy.uint16).view(dtype) for _ in range(LAYERS)]


class PythonPagedTest(unittest.TestCase):
    daemon: python_test.Daemon

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = python_test.Daemon()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.daemon.stop()

    def setUp(self) -> None:
        self.client = terrace.Client(self.daemon.address, name=self.id(), timeout=20)
        self.addCleanup(self.client.close)

    def over(self, tensors: Any, axes: Any = AXES, stored: Any = STORED,
             **options: Any) -> terrace.PagedCache:
        cache = terrace.PagedCache.from_tensors(self.client, tensors, axes, stored, **options)
        self.addCleanup(cache.close)
        return cache

    def test_pages_come_back_into_others_of_the_same_tensors(self) -> None:
        layers = caches()
        cache = self.over([FakeTensor(layer) for layer in layers])
        self.assertEqual(cache.block_pages, 2)
        space = cache.open_namespace(self.id(), model="m")
        chain = terrace.Chain([b"a", b"b", b"c"])
        source, target = [[1, 9], [4, 2], [31, 0]], [[5, 6], [7, 8], [10, 3]]
        self.assertTrue(cache.put(space, chain, source).ok)
        self.assertEqual(self.client.match(space, chain).matched, 3)
        before = [layer.copy() for layer in layers]
        self.assertTrue(cache.get(space, chain, numpy.array(target)).ok)
        flat, flat_target = sum(source, []), sum(target, [])
        for layer, old in zip(layers, before):
            self.assertTrue((layer[:, flat_target] == old[:, flat]).all())
            others = [page for page in range(PAGES) if page not in flat_target]
            self.assertTrue((layer[:, others] == old[:, others]).all())

    def test_any_tensor_is_taken_as_it_lies(self) -> None:
        source = caches("float16", 2)
        chain = terrace.Chain([b"k"])
        first = self.over(source)
        space = first.open_namespace(self.id())
        self.assertTrue(first.put(space, chain, [[3, 4]]).ok)
        wanted = numpy.stack([layer[:, [3, 4]] for layer in source])
        # [pages, layers, 2, heads, tokens, dim] by DLPack; K and V by themselves, as slots.
        one = numpy.zeros((PAGES, LAYERS, 2, HEADS, TOKENS, DIM), numpy.float16)
        cross = self.over(DlTensor(one), ("pages", "layers", "parts", "heads", "tokens", "dim"))
        self.assertTrue(cross.get(cross.open_namespace(self.id()), chain, [[7, 1]]).ok)
        have = one[[7, 1]].transpose(1, 2, 0, 4, 3, 5)
        self.assertTrue((have.view("uint16") == wanted.view("uint16")).all())
        slots = [numpy.zeros((PAGES * TOKENS, HEADS, DIM), numpy.float16)
                 for _ in range(2 * LAYERS)]
        separate = self.over(slots, ("slots", "heads", "dim"), page_tokens=TOKENS)
        self.assertTrue(separate.get(separate.open_namespace(self.id()), chain, [[0, 9]]).ok)
        have = numpy.stack(slots).reshape(LAYERS, 2, PAGES, TOKENS, HEADS, DIM)[:, :, [0, 9]]
        self.assertTrue((have.view("uint16") == wanted.view("uint16")).all())

    def test_quantised_blocks_are_close_and_half_as_large(self) -> None:
        random = numpy.random.default_rng(3)
        layers = [random.uniform(-1, 1, (2, PAGES, TOKENS, HEADS, DIM)).astype(numpy.float32)
                  for _ in range(LAYERS)]
        plain = self.over(layers)
        stored = terrace.StoredLayout(block_tokens=32, type=terrace.StoredType.INT8)
        cache = self.over(layers, stored=stored)
        self.assertLess(cache.block_bytes, plain.block_bytes / 3.9)
        space = cache.open_namespace(self.id())
        chain = terrace.Chain([b"q"])
        self.assertTrue(cache.put(space, chain, [[0, 1]]).ok)
        self.assertTrue(cache.get(space, chain, [[2, 3]]).ok)
        for layer in layers:
            self.assertLess(abs(layer[:, 2:4] - layer[:, 0:2]).max(), 1 / 253)
        with self.assertRaisesRegex(terrace.IncompatibleError, "kv_dtype|layout|block_bytes"):
            plain.open_namespace(self.id())

    def test_submitted_calls_end_in_poll_and_fences_return(self) -> None:
        cache = self.over(caches(), element=terrace.Element.BF16)
        space = cache.open_namespace(self.id())
        chain = terrace.Chain([b"s"])
        ticket = cache.submit_put(space, chain, [[0, 1]], valid_tokens=[20])
        cache.wait_for_completion()
        (done,) = cache.poll()
        self.assertEqual((done.ticket, done.status), (ticket, terrace.Status.OK))
        self.assertEqual([block.status for block in done.blocks], [terrace.Status.OK])
        ticket = cache.submit_get(space, chain, [[2, 3]], layers=(1, 1))
        cache.fence([2, 3, 30])
        cache.cancel(ticket)
        cache.drain()
        self.assertEqual(len(cache.poll()), 1)
        self.assertGreaterEqual(cache.completion_fd, 0)
        got = cache.get(space, chain, [[4, 5]])
        self.assertEqual(got[0].valid_tokens, 20)

    def test_ranks_write_their_heads_of_one_block(self) -> None:
        chain = terrace.Chain([b"tp"])
        whole = self.over(caches(), element=terrace.Element.BF16)
        space = whole.open_namespace(self.id())
        reserved = self.client.reserve(space, chain, 0)
        written = []
        for first in (0, 2):
            layers = [numpy.ascontiguousarray(layer[:, :, :, first:first + 2])
                      for layer in caches(seed=5)]
            stored = terrace.StoredLayout(block_tokens=32, heads_total=HEADS, first_head=first)
            rank = self.over(layers, stored=stored, element=terrace.Element.BF16)
            self.assertTrue(rank.write([reserved.token], [[6, 7]]).ok)
            with self.assertRaisesRegex(terrace.InvalidError, "holds a part"):
                rank.put(rank.open_namespace(self.id()), chain, [[0, 1]])
            written.append(numpy.stack([layer[:, 6:8] for layer in layers]))
        self.client.commit(reserved.token)
        layers = caches(seed=6)
        reader = self.over(layers, element=terrace.Element.BF16)
        self.assertTrue(reader.get(reader.open_namespace(self.id()), chain, [[1, 2]]).ok)
        have = numpy.stack([layer[:, 1:3] for layer in layers])
        self.assertTrue((have == numpy.concatenate(written, axis=4)).all())

    def test_wrong_tensors_are_named(self) -> None:
        layers = caches()
        def refuses(text: str, tensors: Any, axes: Any = AXES, **options: Any) -> None:
            with self.assertRaisesRegex(terrace.InvalidError, text):
                self.over(tensors, axes, **options)
        refuses(r"tensors\[0\] has dtype <u2: say which `element`", layers)
        refuses(r"tensors\[1\] has dtype torch.float16|tensors\[1\] has dtype float16",
                [FakeTensor(layers[0]), FakeTensor(layers[1], "torch.float16")])
        refuses(r"tensors\[0\] has dtype bfloat16, and element is FP16",
                [FakeTensor(layers[0])], element=terrace.Element.FP16)
        bf16 = {"element": terrace.Element.BF16}
        refuses(r"tensors\[2\] has shape", [layers[0], layers[1], layers[2][:, :8]], **bf16)
        refuses(r"tensors\[1\] has strides",
                [layers[0], numpy.asfortranarray(layers[1])], **bf16)
        refuses(r"tensors\[0\] has elements of dim .* apart", [layers[0][..., ::2]], **bf16)
        refuses(r"axes is", layers, ("parts", "pages", "tokens", "heads", "width"), **bf16)
        refuses(r"axes is", layers, ("parts", "pages", "tokens", "dim"), **bf16)
        refuses(r"tensors is empty", [])
        refuses(r"tensors\[0\] is a int", [5])
        refuses(r"page_tokens 7 must divide", [layers[0].reshape(2, -1, HEADS, DIM)],
                ("parts", "slots", "heads", "dim"), page_tokens=7, **bf16)
        frozen = layers[0].copy()
        frozen.flags.writeable = False
        refuses(r"tensors\[0\] is read-only", [frozen], **bf16)
        refuses(r"tensors\[0\] is on the device xpu", [FakeTensor(layers[0], device="xpu")])
        refuses(r"layer_bases\[1\]", [layers[0], layers[0]], **bf16)
        cache = self.over(layers, **bf16)
        space = cache.open_namespace(self.id())
        chain = terrace.Chain([b"w", b"x"])
        for text, pages in ((r"pages\[0\] has 1 pages", [[1]]), (r"pages\[1\] is 32", [[0, 32]]),
                            (r"twice", [[0, 1], [1, 2]])):
            with self.assertRaisesRegex(terrace.InvalidError, text):
                cache.get(space, chain, pages)
        cache.close()
        with self.assertRaises(terrace.InvalidError):
            cache.get(space, chain, [[0, 1]])

    def test_the_makers_of_layouts_agree_with_tensors(self) -> None:
        made, stride = terrace.Layout.make(terrace.Form.PARTS_FIRST_NHD, layers=LAYERS,
                                           pages=PAGES, page_tokens=TOKENS, heads=HEADS,
                                           head_dim=DIM, element=terrace.Element.BF16)
        seen, _, _ = terrace.layout_of(caches(), AXES, element=terrace.Element.BF16)
        self.assertEqual((made, stride), (seen, 0))
        one = numpy.zeros((PAGES, HEADS, LAYERS, TOKENS, DIM), numpy.float16)
        made, stride = terrace.Layout.make(terrace.Form.BHLNC, layers=LAYERS, pages=PAGES,
                                           page_tokens=TOKENS, heads=HEADS, head_dim=DIM,
                                           element=terrace.Element.FP16)
        seen, bases, _ = terrace.layout_of(one, ("pages", "heads", "layers", "tokens", "dim"))
        self.assertEqual((made.page_stride, made.head_stride, made.token_stride, stride),
                         (seen.page_stride, seen.head_stride, seen.token_stride,
                          bases[1] - bases[0]))


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
