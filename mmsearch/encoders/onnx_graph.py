"""Layers and weights in, the ONNX file of a text tower out: nodes as they are added, large weights beside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GraphWriter", "UnknownTowerError", "array"]

_OPSET, _IR = 20, 10
_LARGE = 1 << 16  # from so many bytes on, weights lie beside the graph, where they can be mapped into memory
_ALIGNMENT = 1 << 16  # on every system a multiple of what a mapping must begin at


class UnknownTowerError(Exception):
    """It is not a network that can be written down; the message says what is different."""


class GraphWriter:
    """Nodes and weights as they are added; large weights are written at once.

    Args:
        stream: The file for large weights, beside the graph's own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._integers: dict[tuple[int, ...], str] = {}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output; returns the name of that."""
        return self.nodes(kind, 1, *inputs, output=output, **attributes)[0]

    def nodes(self, kind: str, count: int, *inputs: str, output: str | None = None, **attributes: Any) -> list[str]:
        """Add a node; returns the names of its outputs."""
        from onnx import helper

        names = [output or f"{kind}.{len(self._nodes)}.{place}" for place in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def integers(self, *values: int) -> str:
        """A constant (n,) of int64."""
        if values not in self._integers:
            self._integers[values] = self.weight(np.array(values, np.int64))
        return self._integers[values]

    def norm(self, x: str, norm: Any) -> str:
        """A layer norm over the last axis."""
        if norm.weight is None or norm.bias is None:
            raise UnknownTowerError("its norms have no weights")
        weights = [self.weight(array(norm.weight)), self.weight(array(norm.bias))]
        return self.node("LayerNormalization", x, *weights, axis=-1, epsilon=float(norm.eps))

    def linear(self, x: str, weight: NDArray[np.float32], bias: Any) -> str:
        """(..., c_in) -> (..., c_out), for a weight (c_out, c_in)."""
        y = self.node("MatMul", x, self.weight(np.ascontiguousarray(weight.T)))
        return y if bias is None else self.node("Add", y, self.weight(array(bias)))

    def attention(
        self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32], heads: int, mask: str | None
    ) -> str:
        """(n, t, w) -> (n, t, w): what each token gathers, without the projection that follows.

        Args:
            x: (n, t, w).
            weight: (3 w, w): of queries, keys and values.
            bias: (3 w,).
            heads: How many; they divide w.
            mask: Added to the scores (n, heads, t, t), or None.
        """
        width = weight.shape[1]
        weight, bias = weight.copy(), bias.copy()
        for queries in (weight, bias):
            queries[:width] *= np.float32((width // heads) ** -0.5)
        split = self.integers(0, 0, heads, width // heads)
        parts = self.nodes("Split", 3, self.linear(x, weight, bias), axis=-1, num_outputs=3)
        shaped = [self.node("Reshape", part, split) for part in parts]
        q, k, v = (
            self.node("Transpose", part, perm=perm)
            for part, perm in zip(shaped, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
        )
        scores = self.node("MatMul", q, k)  # (n, heads, t, t)
        if mask is not None:
            scores = self.node("Add", scores, mask)
        gathered = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        return self.node("Reshape", self.node("Transpose", gathered, perm=[0, 2, 1, 3]), self.integers(0, 0, width))

    def normalised(self, x: str, output: str) -> str:
        """Rows of length one: (n, dim) -> (n, dim)."""
        length = self.node("Max", self.node("ReduceL2", x, self.integers(-1)), self.weight(np.float32(1e-12)))
        return self.node("Div", x, length, output=output)

    def weight(self, value: NDArray[Any] | np.generic) -> str:
        """A constant."""
        from onnx import TensorProto, helper, numpy_helper

        whole, name = np.asarray(value), f"weight.{len(self._weights)}"
        if whole.nbytes < _LARGE:
            self._weights.append(numpy_helper.from_array(whole, name))
            return name
        self._stream.seek(-self._stream.tell() % _ALIGNMENT, 1)
        tensor = TensorProto(
            name=name,
            dims=whole.shape,
            data_type=helper.np_dtype_to_tensor_dtype(whole.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        places = {"location": Path(self._stream.name).name, "offset": self._stream.tell(), "length": whole.nbytes}
        for key, place in places.items():
            tensor.external_data.add(key=key, value=str(place))
        self._stream.write(np.ascontiguousarray(whole).data)
        self._weights.append(tensor)
        return name

    def save(self, file: Path, shape: Sequence[str | int]) -> None:
        """Write the graph."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "text",
            [helper.make_tensor_value_info("tokens", TensorProto.INT64, shape)],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["texts", None])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        file.write_bytes(model.SerializeToString())


def array(value: Any) -> NDArray[np.float32]:
    """A tensor as an array."""
    values: NDArray[np.float32] = value.detach().numpy() if hasattr(value, "detach") else value
    return values
