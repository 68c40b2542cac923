"""A paged inference engine on one CPU thread, with a hook before and after every layer.

KV lies in one pool, [layers, pages, floats of a layer of a block]: a page holds K and V of
block_tokens tokens in every layer, and a sequence's block table names its pages in any order. A
Terrace block is one page gathered over the layers; layer l of it is one contiguous range.

Bit-exact by construction: every full block of a prompt is computed as one chunk of block_tokens
tokens over all pages before it, the rest of the prompt as one chunk, then token by token. So the
shapes of every step depend on the position alone, not on which blocks came from elsewhere, and
neither does the order in which floats are added.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from model import FLOAT_BYTES, Shape, Weights, attend_graph, head_graph, project_graph, rotations

PROJECT_WEIGHTS = ("norm_1", "w_q", "w_k", "w_v")
ATTEND_WEIGHTS = ("w_o", "norm_2", "w_gate", "w_up", "w_down")


class Hooks:
    """What an engine lets others do around a layer; this one does nothing."""

    def before_layer(self, layer: int) -> None:
        """The layer's pages of earlier blocks are about to be read: wait for them here."""

    def after_layer(self, layer: int, blocks: range) -> None:
        """The layer's K and V of these blocks stand in their pages."""


class OutOfPages(Exception):
    """The pool is too small for what was asked."""


class Engine:
    """One model and its pages. One thread uses it at a time."""

    def __init__(self, shape: Shape, seed: int, pages: int) -> None:
        """`pages`: of the pool, each shape.block_bytes large."""
        self.shape = shape
        self._weights = Weights(shape, seed)
        self._project, self._attend = project_graph(shape), attend_graph(shape)
        self._head = head_graph(shape)
        self.pages = pages
        self.pool: Any = np.zeros((shape.layers, pages, shape.layer_floats), np.float32)
        # Scattered on purpose: nothing may rely on pages that lie one after the other.
        self._free: list[int] = np.random.Generator(np.random.PCG64(7)).permutation(pages).tolist()
        # All zeros between calls: a mask differs from that in its last columns only.
        self._mask: Any = np.zeros(shape.block_tokens * pages * shape.block_tokens, np.float32)

    # ---- pages ----

    def allocate(self, count: int) -> list[int]:
        """Pages of zeros: what lies beyond the last token is multiplied by 0, and must be finite.
        """
        if count > len(self._free):
            raise OutOfPages(f"{count} pages asked, {len(self._free)} of {self.pages} are free")
        taken, self._free = self._free[:count], self._free[count:]
        self.pool[:, taken] = 0
        return taken

    def release(self, pages: Sequence[int]) -> None:
        self._free.extend(pages)

    def offset(self, layer: int, page: int) -> int:
        """Of a layer of a page in the pool, in bytes."""
        return (layer * self.pages + page) * self.shape.layer_floats * FLOAT_BYTES

    # ---- computing ----

    def blocks(self, tokens: Any, table: Sequence[int], blocks: range, hooks: Hooks) -> None:
        """Computes full blocks of a prompt, layer by layer, each over the blocks before it.

        tokens [n]: of the whole prompt. table: a page for every block of it. Blocks before
        blocks.start must stand in their pages, at the latest when before_layer returns.
        """
        size = self.shape.block_tokens
        hidden = {block: self._embed(tokens[block * size:(block + 1) * size]) for block in blocks}
        for layer in range(self.shape.layers):
            hooks.before_layer(layer)
            for block in blocks:
                hidden[block] = self._layer(layer, hidden[block], table, block * size)
            hooks.after_layer(layer, blocks)

    def chunk(self, tokens: Any, table: Sequence[int], first: int, hooks: Hooks) -> Any:
        """Computes tokens [n] at positions first, first + 1, ...; n at most block_tokens, all in
        one page. Returns the logits after the last of them, [vocabulary]."""
        assert first % self.shape.block_tokens + len(tokens) <= self.shape.block_tokens
        hidden = self._embed(tokens)
        for layer in range(self.shape.layers):
            hooks.before_layer(layer)
            hidden = self._layer(layer, hidden, table, first)
        return self._head.run(None, {"hidden": hidden[-1:], **self._weights.head})[0][0]

    def generate(self, logits: Any, table: Sequence[int], first: int, count: int) -> Iterator[Any]:
        """Greedy: yields the logits [vocabulary] of `count` tokens, the given ones first. Position
        `first` is the one after the prompt."""
        yield logits
        for position in range(first, first + count - 1):
            logits = self.chunk([int(np.argmax(logits))], table, position, Hooks())
            yield logits

    def warm(self, tokens: int) -> None:
        """Grows the memory of the sessions to what a prompt of so many tokens needs."""
        size = self.shape.block_tokens
        count = min(self.pages, -(-tokens // size))
        table = self.allocate(count)
        for _ in range(2):
            self._layer(0, self._embed([0] * size), table, (count - 1) * size)
        self.release(table)

    def _embed(self, tokens: Any) -> Any:
        return self._weights.embedding[np.asarray(tokens)]

    def _layer(self, layer: int, hidden: Any, table: Sequence[int], first: int) -> Any:
        """One layer over one chunk: hidden [n, width] at positions first, ... -> the same after
        the layer. Writes the chunk's K and V into its page, then attends over all pages."""
        weights, size, count = self._weights.layers[layer], self.shape.block_tokens, len(hidden)
        cosine, sine = rotations(self.shape, first, count)
        query, key, value = self._project.run(None, {
            "hidden": hidden, "cosine": cosine, "sine": sine,
            **{name: weights[name] for name in PROJECT_WEIGHTS}})
        last, place = first // size, slice(first % size, first % size + count)
        keys, values = self._page(layer, table[last])
        keys[:, :, place] = key
        values[:, place] = value
        rows = np.asarray(table[:last + 1], np.int64) * 2
        past = (last + 1) * size
        mask = self._mask[:count * past].reshape(count, past)
        mask[:, last * size:] = np.where(
            np.arange(size) <= np.arange(first % size, first % size + count)[:, None],
            np.float32(0), np.float32(-np.inf))
        out = self._attend.run(None, {
            "hidden": hidden, "query": query, "pool": self.pool[layer].reshape(self.pages * 2, -1),
            "key_rows": rows, "value_rows": rows + 1, "mask": mask,
            **{name: weights[name] for name in ATTEND_WEIGHTS}})[0]
        mask[:, last * size:] = 0
        return out

    def _page(self, layer: int, page: int) -> tuple[Any, Any]:
        """Views: K [kv_heads, head_dim, block_tokens], V [kv_heads, block_tokens, head_dim]."""
        shape, both = self.shape, self.pool[layer, page].reshape(2, -1)
        return (both[0].reshape(shape.kv_heads, shape.head_dim, shape.block_tokens),
                both[1].reshape(shape.kv_heads, shape.block_tokens, shape.head_dim))
