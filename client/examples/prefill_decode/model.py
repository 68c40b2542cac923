"""The model: a decoder-only transformer with random weights, as three ONNX graphs.

RMSNorm, rotary positions, grouped-query attention, SwiGLU: the parts of a LLaMA, small. Weights
come from a seed, so two processes that agree on `Shape` and seed hold the same model.

One layer is two graphs, because an engine acts between them: it writes the layer's new K and V into
its pages (and may hand them on), and waits for pages that somebody else computed.

    project:  hidden -> query, new K, new V                     (before the pages are written)
    attend:   hidden, query, all pages of the layer -> hidden   (after)
    head:     hidden of the last token -> logits

Weights are inputs, so that one session serves all layers. Every session runs on one thread: with
the same inputs in the same shapes it gives the same bytes, in every process of this machine.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5
ROPE_BASE = 10000.0
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Shape:
    """Everything that the bytes of a KV block depend on, except the seed."""
    layers: int = 8
    hidden: int = 128       # width of a token's state, floats
    heads: int = 4          # of queries
    kv_heads: int = 2       # each shared by heads / kv_heads queries
    head_dim: int = 32      # floats
    mlp: int = 256          # inner width of the SwiGLU
    vocabulary: int = 512   # tokens
    block_tokens: int = 64  # of a page, and of a Terrace block

    @property
    def layer_floats(self) -> int:
        """K and V of one block in one layer."""
        return 2 * self.kv_heads * self.head_dim * self.block_tokens

    @property
    def layer_bytes(self) -> int:
        return self.layer_floats * FLOAT_BYTES

    @property
    def block_bytes(self) -> int:
        """A Terrace block: all layers of block_tokens tokens, layer after layer."""
        return self.layers * self.layer_bytes

    def fingerprint(self, seed: int) -> str:
        text = f"{sorted(asdict(self).items())} seed {seed} opset {OPSET} ort {ort.__version__}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class Weights:
    """Random weights of a model. `layers[i]` maps input names of the graphs to arrays."""

    def __init__(self, shape: Shape, seed: int) -> None:
        random = np.random.Generator(np.random.PCG64(seed))

        def matrix(rows: int, columns: int) -> Any:
            return (random.standard_normal((rows, columns)) / rows**0.5).astype(np.float32)

        width, queries = shape.hidden, shape.heads * shape.head_dim
        keys = shape.kv_heads * shape.head_dim
        self.layers: list[dict[str, Any]] = []
        for _ in range(shape.layers):
            self.layers.append({
                "norm_1": np.ones(width, np.float32), "norm_2": np.ones(width, np.float32),
                "w_q": matrix(width, queries), "w_k": matrix(width, keys),
                "w_v": matrix(width, keys), "w_o": matrix(queries, width),
                "w_gate": matrix(width, shape.mlp), "w_up": matrix(width, shape.mlp),
                "w_down": matrix(shape.mlp, width)})
        self.embedding = matrix(shape.vocabulary, width) * np.float32(width**0.5)
        self.head = {"norm": np.ones(width, np.float32), "w_head": matrix(width, shape.vocabulary)}


class _Graph:
    """Builds one graph; a method adds one node and returns the name of what it makes."""

    def __init__(self, inputs: dict[str, tuple[int, list[Any]]]) -> None:
        self.inputs = [helper.make_tensor_value_info(name, kind, dims)
                       for name, (kind, dims) in inputs.items()]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, kind: int = TensorProto.INT64) -> str:
        array = np.asarray(values)
        name = f"constant_{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.ravel().tolist()))
        return name

    def number(self, value: float) -> str:
        return self.constant(value, TensorProto.FLOAT)

    def reshape(self, name: str, *dims: int) -> str:
        return self.add("Reshape", name, self.constant(dims))

    def norm(self, name: str, weight: str) -> str:
        """RMSNorm over the last axis."""
        mean = self.add("ReduceMean", self.add("Mul", name, name), axes=[-1], keepdims=1)
        root = self.add("Sqrt", self.add("Add", mean, self.number(EPSILON)))
        return self.add("Mul", self.add("Div", name, root), weight)

    def rotate(self, name: str, half: int) -> str:
        """Rotary positions of [heads, tokens, 2 * half]; cosine and sine are [tokens, half]."""
        axis = self.constant([2])
        left = self.add("Slice", name, self.constant([0]), self.constant([half]), axis)
        right = self.add("Slice", name, self.constant([half]), self.constant([2 * half]), axis)
        first = self.add("Sub", self.add("Mul", left, "cosine"), self.add("Mul", right, "sine"))
        second = self.add("Add", self.add("Mul", left, "sine"), self.add("Mul", right, "cosine"))
        return self.add("Concat", first, second, axis=2)

    def session(self, outputs: dict[str, tuple[str, list[Any]]]) -> ort.InferenceSession:
        """A session that gives the tensors named by the keys: name in the graph, dimensions."""
        for output, (name, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [name], [output]))
        results = [helper.make_tensor_value_info(output, TensorProto.FLOAT, dims)
                   for output, (_, dims) in outputs.items()]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, results, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                  ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # the order of additions must not depend on threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.enable_mem_pattern = False  # shapes grow with every block
        return ort.InferenceSession(model.SerializeToString(), options,
                                    providers=["CPUExecutionProvider"])


FLOAT = TensorProto.FLOAT
INDEX = TensorProto.INT64


def project_graph(shape: Shape) -> ort.InferenceSession:
    """hidden [tokens, hidden] -> query [kv_heads, group * tokens, head_dim], scaled;
    key [kv_heads, head_dim, tokens]; value [kv_heads, tokens, head_dim]."""
    group, half = shape.heads // shape.kv_heads, shape.head_dim // 2
    keys = shape.kv_heads * shape.head_dim
    graph = _Graph({"hidden": (FLOAT, ["tokens", shape.hidden]),
                    "cosine": (FLOAT, ["tokens", half]), "sine": (FLOAT, ["tokens", half]),
                    "norm_1": (FLOAT, [shape.hidden]),
                    "w_q": (FLOAT, [shape.hidden, shape.heads * shape.head_dim]),
                    "w_k": (FLOAT, [shape.hidden, keys]), "w_v": (FLOAT, [shape.hidden, keys])})
    normed = graph.norm("hidden", "norm_1")

    def by_head(weight: str, heads: int) -> str:  # [heads, tokens, head_dim]
        flat = graph.add("MatMul", normed, weight)
        return graph.add("Transpose", graph.reshape(flat, -1, heads, shape.head_dim),
                         perm=[1, 0, 2])

    query = graph.rotate(by_head("w_q", shape.heads), half)
    query = graph.add("Mul", query, graph.number(shape.head_dim**-0.5))
    # Queries of one KV head lie one after the other: one product serves the group.
    stacked = graph.add("Reshape", query, graph.constant([shape.kv_heads, -1, shape.head_dim]))
    key = graph.add("Transpose", graph.rotate(by_head("w_k", shape.kv_heads), half),
                    perm=[0, 2, 1])
    assert group * shape.kv_heads == shape.heads
    return graph.session({
        "query": (stacked, [shape.kv_heads, "rows", shape.head_dim]),
        "key": (key, [shape.kv_heads, shape.head_dim, "tokens"]),
        "value": (by_head("w_v", shape.kv_heads), [shape.kv_heads, "tokens", shape.head_dim])})


def attend_graph(shape: Shape) -> ort.InferenceSession:
    """hidden [tokens, hidden], query, the layer's pool [pages * 2, half a page], the rows of its
    K and V pages in order [n], mask [tokens, n * block_tokens] -> hidden after attention and MLP.
    """
    group, page = shape.heads // shape.kv_heads, shape.block_tokens
    graph = _Graph({"hidden": (FLOAT, ["tokens", shape.hidden]),
                    "query": (FLOAT, [shape.kv_heads, "rows", shape.head_dim]),
                    "pool": (FLOAT, ["halves", shape.layer_floats // 2]),
                    "key_rows": (INDEX, ["pages"]), "value_rows": (INDEX, ["pages"]),
                    "mask": (FLOAT, ["tokens", "past"]),
                    "w_o": (FLOAT, [shape.heads * shape.head_dim, shape.hidden]),
                    "norm_2": (FLOAT, [shape.hidden]),
                    "w_gate": (FLOAT, [shape.hidden, shape.mlp]),
                    "w_up": (FLOAT, [shape.hidden, shape.mlp]),
                    "w_down": (FLOAT, [shape.mlp, shape.hidden])})
    keys = graph.reshape(graph.add("Gather", "pool", "key_rows", axis=0),
                         -1, shape.kv_heads, shape.head_dim, page)
    keys = graph.reshape(graph.add("Transpose", keys, perm=[1, 2, 0, 3]),
                         shape.kv_heads, shape.head_dim, -1)
    values = graph.reshape(graph.add("Gather", "pool", "value_rows", axis=0),
                           -1, shape.kv_heads, page, shape.head_dim)
    values = graph.reshape(graph.add("Transpose", values, perm=[1, 0, 2, 3]),
                           shape.kv_heads, -1, shape.head_dim)
    scores = graph.add("MatMul", "query", keys)  # [kv_heads, group * tokens, past]
    past = graph.add("Shape", "mask")            # [tokens, past]
    split = graph.add("Concat", graph.constant([shape.kv_heads, group]), past, axis=0)
    masked = graph.add("Add", graph.add("Reshape", scores, split), "mask")
    merged = graph.add("Reshape", graph.add("Softmax", masked, axis=-1),
                       graph.add("Shape", scores))
    mixed = graph.add("MatMul", merged, values)  # [kv_heads, group * tokens, head_dim]
    tokens = graph.add("Slice", past, graph.constant([0]), graph.constant([1]))
    by_head = graph.add("Concat", graph.constant([shape.heads]), tokens,
                        graph.constant([shape.head_dim]), axis=0)
    mixed = graph.add("Transpose", graph.add("Reshape", mixed, by_head), perm=[1, 0, 2])
    flat = graph.reshape(mixed, -1, shape.heads * shape.head_dim)
    hidden = graph.add("Add", "hidden", graph.add("MatMul", flat, "w_o"))
    normed = graph.norm(hidden, "norm_2")
    gate = graph.add("MatMul", normed, "w_gate")
    gate = graph.add("Mul", gate, graph.add("Sigmoid", gate))
    inner = graph.add("Mul", gate, graph.add("MatMul", normed, "w_up"))
    out = graph.add("Add", hidden, graph.add("MatMul", inner, "w_down"))
    return graph.session({"out": (out, ["tokens", shape.hidden])})


def head_graph(shape: Shape) -> ort.InferenceSession:
    """hidden [1, hidden] -> logits [1, vocabulary]."""
    graph = _Graph({"hidden": (FLOAT, [1, shape.hidden]), "norm": (FLOAT, [shape.hidden]),
                    "w_head": (FLOAT, [shape.hidden, shape.vocabulary])})
    logits = graph.add("MatMul", graph.norm("hidden", "norm"), "w_head")
    return graph.session({"logits": (logits, [1, shape.vocabulary])})


def rotations(shape: Shape, first: int, tokens: int) -> tuple[Any, Any]:
    """Cosine and sine [tokens, head_dim / 2] of positions first, first + 1, ..."""
    half = shape.head_dim // 2
    frequency = ROPE_BASE ** (-np.arange(half, dtype=np.float64) / half)
    angle = np.arange(first, first + tokens, dtype=np.float64)[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
