"""The graph of an image tower in, the same with a second output out: what the tower sees at each place of a photo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_UNIT = re.compile(r"/late/late\.(\d+)/")
_LEARNED = 3

__all__ = ["PATCHES", "add_patches", "add_patches_to"]

PATCHES = "patches"
"""The name of the output, and the beginning of the names of all that leads to it."""


def add_patches(model: onnx.ModelProto) -> None:
    """Give a graph the output ``patches`` (n, places, width), row by row; one that has it stays as it is.

    Of each place it is the channels of the map before the last three units, which tell what is there, and after them
    the channels of the map at the cut, which still tell colours and edges: each the mean over the window of three by
    three that lies around the place on that finer map. The last units themselves are left out: they learned from the
    captions of the dual encoder's training, so that what they yield of its photos is better than of any others, and a
    reranker that learns from the same photos would trust it too much. The embeddings stay the same, bit for bit.

    Raises:
        ValueError: The graph is no exported image tower.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    if any(output.name == PATCHES for output in graph.output):
        return
    last, cut = _before_learned(graph), _averaged(graph, "/early/")
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), f"{PATCHES}.shape"))
    pooled, both, rows = (f"{PATCHES}.{name}" for name in ("pooled", "both", "rows"))
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 0}
    graph.node.extend(
        [
            helper.make_node("AveragePool", [cut], [pooled], pooled, **window),  # (n, c, s, s) -> (n, c, r, r)
            helper.make_node("Concat", [last, pooled], [both], both, axis=1),
            helper.make_node("Reshape", [both, f"{PATCHES}.shape"], [rows], rows),  # -> (n, width, places)
            helper.make_node("Transpose", [rows], [PATCHES], PATCHES, perm=[0, 2, 1]),
        ]
    )
    width, places = (_sizes(model, rows)[axis] for axis in (1, 2))
    graph.output.append(helper.make_tensor_value_info(PATCHES, onnx.TensorProto.FLOAT, ["n", places, width]))
    onnx.checker.check_model(model)


def add_patches_to(file: Path) -> None:
    """Give an exported image tower, in place, the output that `add_patches` describes.

    Raises:
        ValueError: It is none.
    """
    import onnx

    model = onnx.load(str(file))
    add_patches(model)
    part = file.with_name(f"{file.name}.part")
    onnx.save(model, str(part))
    part.replace(file)


def _before_learned(graph: onnx.GraphProto) -> str:
    """The map that the first of the last three units takes; the first unit of all changes the grid and stays out."""
    outputs = [node.output[0] for node in graph.node]
    units = sorted({int(number) for name in outputs for number in _UNIT.findall(name)})
    if len(units) < 2:
        raise ValueError("the graph does not tell which map ends the stage of its late units")
    unit = f"/late/late.{units[max(1, len(units) - _LEARNED)]}/"
    found: str = next(node.input[0] for node in graph.node if node.op_type == "Conv" and unit in node.output[0])
    return found


def _averaged(graph: onnx.GraphProto, stage: str) -> str:
    """The map of a stage whose mean over all places the head reads."""
    maps: list[str] = [node.input[0] for node in graph.node if node.op_type == "ReduceMean" and stage in node.input[0]]
    if len(maps) != 1:
        raise ValueError(f"the graph does not tell which map ends the stage {stage.strip('/')}")
    return maps[0]


def _sizes(model: onnx.ModelProto, name: str) -> list[int]:
    """The sizes of a tensor of the graph, 0 for one that is open."""
    from onnx import shape_inference

    for value in shape_inference.infer_shapes(model).graph.value_info:
        if value.name == name:
            return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    raise ValueError(f"the graph does not tell the shape of {name}")
