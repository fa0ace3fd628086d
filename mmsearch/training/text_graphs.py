"""A text tower's weights and some texts go in, its graph in integer arithmetic comes out, for ONNX Runtime.

Products are computed in eight-bit integers with ranges of activations that are fixed when the graph is written, so that
a text's embedding does not depend on the texts beside it. What is equal to an array of ``mini_text.safetensors`` is
not written again: the graph points to its place in that file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.mini_text import EPSILON, TextTower, read_safetensors, read_shape
from mmsearch.encoders.model_folder import TEXT_GRAPH

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CALIBRATION", "export_text_graph", "write_text_graph"]

OPSET, IR = 20, 10
_OURS = "mini_text.safetensors"
_CONTRIBUTED = "com.microsoft"

CALIBRATION = (
    "a dog runs through the snow",
    "Two children in red coats are playing on the beach while their parents look on.",
    "A man with a grey beard plays the guitar in front of a shop. People walk past him; some stop and listen.",
    "We left early, before the sun was up, and drove along the coast for three hours. The old harbour had hardly "
    "changed: boats in blue and green, nets drying on the wall, the smell of fish and tar. In the evening it rained.",
    "Beat the eggs with the sugar, add flour, butter and a pinch of salt, and bake the cake for forty minutes.",
    "Meeting of 12 March 2019: the budget for the new website (14,500 EUR) was approved with 7 votes to 2. To do: ask "
    "Anna about the photos; call the printer; renew the insurance. Next meeting: 9 April at 10:30, room 214.",
    "To install the package, run the command below as root. The daemon reads its configuration file when it starts, "
    "and whenever it receives a signal; see the manual page for the options that it understands.",
    "The heart pumps blood through the arteries; valves keep it from flowing back. In mammals it has four chambers.",
)
"""Texts that show which ranges the activations take."""


def export_text_graph(folder: Path) -> None:
    """Write the graph of a model's own text tower into its folder; it holds no weights.

    Args:
        folder: Where ``mini_text.safetensors`` and ``mini_vocabulary.txt`` lie.
    """
    arrays, _ = read_safetensors(folder / _OURS)
    write_text_graph(folder, folder / TEXT_GRAPH, folder, shared=arrays.keys(), calibration=CALIBRATION)


def write_text_graph(
    folder: Path, target: Path, beside: Path, *, shared: Collection[str], calibration: Sequence[str]
) -> None:
    """Write the graph of a text tower: token ids (n, t) of texts of one length -> embeddings (n, dim).

    Args:
        folder: Where its ``mini_text.safetensors`` and ``mini_vocabulary.txt`` lie.
        target: The file to write, in the folder of the model that it is for.
        beside: A folder with the ``mini_text.safetensors`` that will lie beside the target.
        shared: Names of the arrays that it has in common with that file.
        calibration: Texts that show which ranges the activations take.
    """
    import onnx

    arrays, _ = read_safetensors(folder / _OURS)
    shape = read_shape(folder / _OURS)
    writer = _Writer(arrays, _places(beside / _OURS, shared), _ranges(folder, calibration))
    model = writer.model(shape.depth, shape.heads, shape.dim)
    onnx.save(model, str(target))


class _Probe(TextTower):
    """The tower in NumPy, noting the ranges of what goes into its products."""

    ranges: dict[str, tuple[float, float]]

    def _linear(self, x: NDArray[np.float32], name: str, keep: bool) -> NDArray[np.float32]:
        low, high = self.ranges.get(name, (0.0, 0.0))
        self.ranges[name] = min(low, float(x.min())), max(high, float(x.max()))
        return super()._linear(x, name, keep)


def _ranges(folder: Path, texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    probe = _Probe(folder)
    probe.ranges = {}
    probe.encode(texts)
    return probe.ranges


def _places(file: Path, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """Where arrays begin in a safetensors file, and how many bytes they take."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    spans = {name: header[name]["data_offsets"] for name in names}
    return {name: (8 + size + start, stop - start) for name, (start, stop) in spans.items()}


class _Writer:
    """Nodes and weights as they are added."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        places: Mapping[str, tuple[int, int]],
        ranges: Mapping[str, tuple[float, float]],
    ) -> None:
        self._arrays, self._places, self._ranges = arrays, places, ranges
        self._nodes: list[Any] = []
        self._weights: dict[str, Any] = {}

    def model(self, depth: int, heads: int, dim: int) -> Any:
        """The whole graph."""
        from onnx import TensorProto, helper

        x = self._embedded()
        for layer in range(depth):
            x = self._layer(x, f"layers.{layer}", heads)
        pooled = self._unit(self._node("ReduceMean", x, self._constant("tokens", np.array([1])), keepdims=0))
        hidden = self._node("FastGelu", self._linear(pooled, "head.up"), domain=_CONTRIBUTED)
        projected = self._node("Add", self._linear(pooled, "head.skip"), self._linear(hidden, "head.down"))
        self._unit(projected, output="embeddings")
        graph = helper.make_graph(
            self._nodes,
            "texts",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"])],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
            list(self._weights.values()),
        )
        sets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIBUTED, 1)]
        return helper.make_model(graph, opset_imports=sets, ir_version=IR, producer_name="mmsearch")

    def _embedded(self) -> str:
        """(n, t) ids -> (n, t, width)."""
        from onnx import TensorProto

        words = self._node("Cast", self._node("Gather", self._array("words"), "ids"), to=TensorProto.FLOAT)
        scales = self._node("Gather", self._array("words.scale"), "ids")
        scales = self._node("Unsqueeze", scales, self._constant("last", np.array([-1])))
        length = self._node("Shape", "ids", start=1, end=2)
        places = self._node("Slice", self._array("places"), self._constant("first", np.array([0])), length)
        return self._norm(self._node("Add", self._node("Mul", words, scales), places), "norm")

    def _layer(self, x: str, name: str, heads: int) -> str:
        """(n, t, width) -> (n, t, width)."""
        qkv = self._nodes_of("Split", 3, self._linear(x, f"{name}.qkv"), axis=-1, num_outputs=3)
        attended = self._node("MultiHeadAttention", *qkv, domain=_CONTRIBUTED, num_heads=heads)
        x = self._norm(self._node("Add", x, self._linear(attended, f"{name}.out")), f"{name}.norm1")
        # The bias goes in with the activation, which takes it at no cost.
        inner = self._linear(x, f"{name}.up", bias=False)
        inner = self._node("FastGelu", inner, self._array(f"{name}.up.bias"), domain=_CONTRIBUTED)
        return self._norm(self._node("Add", x, self._linear(inner, f"{name}.down")), f"{name}.norm2")

    def _linear(self, x: str, name: str, *, bias: bool = True) -> str:
        """(..., c_in) -> (..., c_out) in integers."""
        low, high = self._ranges[name]
        # Rounded, since products differ in their last bits from run to run, and equal weights shall give equal files.
        step = float(f"{max(high - low, 1e-6) / 255:.3g}")
        scale = self._constant(f"{name}.step", np.float32(step))
        zero = self._constant(f"{name}.zero", np.uint8(round(-low / step)))
        packed = self._node("QuantizeLinear", x, scale, zero)
        weight, steps = self._matrix(name)
        added = self._array(f"{name}.bias") if bias else ""
        inputs = (packed, weight, scale, steps, zero, "", added)
        return self._node("MatMulIntegerToFloat", *inputs, domain=_CONTRIBUTED)

    def _matrix(self, name: str) -> tuple[str, str]:
        """A matrix (c_in, c_out) in integers, and the step of each output.

        What is written anew has seven bits: processors without VNNI add pairs of products in sixteen bits, which those
        of eight-bit weights overflow without a word unless ONNX Runtime is told to take a slower way.
        """
        weight, steps = f"{name}.weight", f"{name}.scale"
        if weight in self._places:
            return self._node("Transpose", self._array(weight), perm=[1, 0]), self._array(steps)
        packed = np.rint(self._arrays[weight] / 2).astype(np.int8).T
        doubled = (2 * self._arrays[steps]).astype(np.float32)
        return self._constant(weight, np.ascontiguousarray(packed)), self._constant(steps, doubled)

    def _norm(self, x: str, name: str) -> str:
        weight, bias = self._array(f"{name}.weight"), self._array(f"{name}.bias")
        return self._node("LayerNormalization", x, weight, bias, epsilon=EPSILON)

    def _unit(self, x: str, output: str | None = None) -> str:
        return self._node("LpNormalization", x, output=output, axis=1, p=2)

    def _node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        return self._nodes_of(kind, 1, *inputs, output=output, **attributes)[0]

    def _nodes_of(self, kind: str, count: int, *inputs: str, output: str | None = None, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [output or f"{kind}.{len(self._nodes)}.{place}" for place in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self._weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _array(self, name: str) -> str:
        """An array of the tower, in the graph or where it lies already."""
        from onnx import TensorProto, helper

        if name not in self._places:
            return self._constant(name, self._arrays[name])
        if name not in self._weights:
            array = self._arrays[name]
            entry = TensorProto(name=name, dims=array.shape, data_location=TensorProto.EXTERNAL)
            entry.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            start, length = self._places[name]
            for key, value in (("location", _OURS), ("offset", start), ("length", length)):
                entry.external_data.add(key=key, value=str(value))
            self._weights[name] = entry
        return name
