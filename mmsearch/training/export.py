"""Trained towers go in, the files that ship come out: an ONNX graph in integers and a safetensors file in int8."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.training.backbone import ImageBackbone
from mmsearch.training.heads import Head
from mmsearch.training.patches import add_patches, add_patches_to
from mmsearch.training.text_tower import SentenceTransformer

__all__ = [
    "ExportedImages",
    "export_image_tower",
    "export_text_tower",
    "export_vocabulary",
    "graph_of",
    "quiet_exporters",
    "replace_head",
]

OPSET = 17


class ExportedImages(nn.Module):
    """Backbone and head."""

    def __init__(self, backbone: ImageBackbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 (n, side, side, 3) -> (n, dim), rows L2-normalised."""
        embeddings: Tensor = self.head(self.backbone(images))
        return embeddings


def export_image_tower(tower: nn.Module, side: int, target: Path, calibration: NDArray[np.uint8] | None) -> None:
    """Write an image tower as ONNX, from uint8 pixels to embeddings, and to patches as a second output.

    Args:
        tower: Takes uint8 (n, side, side, 3).
        side: Side of its input.
        target: The file to write.
        calibration: (m, side, side, 3) photos that show which ranges the activations take; None leaves float32.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet_exporters():
        plain, fused = Path(folder, "plain.onnx"), Path(folder, "fused.onnx")
        plain.write_bytes(graph_of(tower, side))
        quant_pre_process(str(plain), str(fused), skip_symbolic_shape=True)
        if calibration is None:
            shutil.copyfile(fused, target)
        else:
            _quantise(fused, target, calibration)
            _pack_matrices(target)
    add_patches_to(target)


def graph_of(tower: nn.Module, side: int) -> bytes:
    """An ONNX graph in float32 of a network that takes uint8 (n, side, side, 3) and gives (n, w)."""
    with quiet_exporters(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "graph.onnx")
        torch.onnx.export(
            tower.eval(),
            (torch.zeros(1, side, side, 3, dtype=torch.uint8),),
            str(file),
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_axes={"images": {0: "n"}, "embeddings": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()


def replace_head(source: Path, head: Head, target: Path) -> None:
    """Write an exported image tower anew with another head; the backbone stays as it is, bit for bit.

    One that was exported without patches gets them.

    Args:
        source: The exported tower.
        head: Reads features of the same width and gives embeddings of any.
        target: The file to write.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(source))
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in head.state_dict().items():
        array = value.detach().cpu().float().numpy()
        if array.ndim == 2:
            arrays[f"head.{name}.packed"], arrays[f"head.{name}.scale"] = _int8_rows(array)
        else:
            arrays[f"head.{name}"] = array
    names = {entry.name for entry in model.graph.initializer}
    if missing := arrays.keys() - names:
        raise ValueError(f"{source} has no {', '.join(sorted(missing))}")
    for entry in model.graph.initializer:
        if entry.name in arrays:
            entry.CopyFrom(numpy_helper.from_array(arrays[entry.name], entry.name))
    # Shapes that were worked out for the earlier head are worked out anew where the graph is loaded.
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(arrays["head.skip.bias"])
    add_patches(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Hold back the advice that the exporters give through the root logger and as warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _quantise(source: Path, target: Path, calibration: NDArray[np.uint8]) -> None:
    """Turn the convolutions into integer arithmetic.

    Weights keep to seven bits (`reduce_range`): processors without VNNI add pairs of products in sixteen bits, and
    eight-bit weights would overflow there without a word.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Photos(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self._batches: Iterator[Mapping[str, Any]] = iter(
                [{"images": calibration[start : start + 8]} for start in range(0, len(calibration), 8)]
            )

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self._batches, None)

    quantize_static(
        str(source),
        str(target),
        Photos(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Clip", "Add", "Pad"],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=_unquantised_nodes(source),
    )


def _unquantised_nodes(path: Path) -> list[str]:
    """Names of the nodes beside the network's blocks: what comes after them stays in floating point."""
    import onnx

    graph = onnx.load(str(path)).graph
    inside = [node.name for node in graph.node if "/early/" in node.name or "/late/" in node.name]
    if not any(node.op_type == "Conv" and node.name in inside for node in graph.node):
        raise ValueError("the graph's nodes do not tell which blocks they belong to")
    return [node.name for node in graph.node if node.name not in inside]


def _pack_matrices(path: Path) -> None:
    """Store the matrices of the head as int8 with one scale for each output, unpacked when the graph runs."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    weights = {entry.name: entry for entry in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            name = node.input[1]
            matrix = numpy_helper.to_array(weights[name])
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            packed, scale = _int8_rows(matrix if transposed else matrix.T)
            packed = packed if transposed else np.ascontiguousarray(packed.T)
            graph.initializer.remove(weights[name])
            graph.initializer.append(numpy_helper.from_array(packed, f"{name}.packed"))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            inputs = [f"{name}.packed", f"{name}.scale"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0 if transposed else 1))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _int8_rows(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(rows, columns) -> the same in int8, and the scale of each row."""
    matrix = np.asarray(matrix, np.float32)
    scale = np.maximum(np.abs(matrix).max(axis=1), 1e-8) / 127
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def export_text_tower(
    model: SentenceTransformer, head: Head, limit: int, target: Path, *, side: int, scale: float
) -> None:
    """Write a text tower as the safetensors file that ``mmsearch.encoders.mini_text`` reads.

    Args:
        model: The transformer.
        head: Its projection.
        limit: Tokens that a text is cut at.
        target: The file to write.
        side: Side in pixels of the photos that the image tower reads.
        scale: Inverse temperature that training ended with.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {}
    state = {name: value.detach().float().numpy() for name, value in model.state_dict().items()}
    state |= {f"head.{name}": value.detach().float().numpy() for name, value in _plain_head(head).items()}
    for name, value in state.items():
        if name == "words.weight":
            arrays["words"], arrays["words.scale"] = _int8_rows(value)
        elif name == "places.weight":
            arrays["places"] = value[:limit].copy()
        elif value.ndim == 2:
            arrays[name], arrays[name.removesuffix("weight") + "scale"] = _int8_rows(value)
        else:
            arrays[name] = value.astype(np.float32)
    dim = len(state["head.skip.bias"])
    shape = {
        "depth": len(model.layers),
        "heads": model.heads,
        "limit": limit,
        "dim": dim,
        "side": side,
        "scale": round(scale, 4),
    }
    target.unlink(missing_ok=True)
    target.touch()  # with the permissions that files are made with here, which the library would narrow
    save_file(arrays, str(target), metadata={"format": "mini-text-1", "shape": json.dumps(shape)})
    _order_metadata(target)


def _order_metadata(file: Path) -> None:
    """Write the metadata of a safetensors file in the order of their names: the library writes them in any."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    packed = json.dumps(header, separators=(",", ":")).encode()
    packed += b" " * (-len(packed) % 8)  # so that arrays lie aligned
    file.write_bytes(len(packed).to_bytes(8, "little") + packed + content[start:])


def _plain_head(head: Head) -> dict[str, Tensor]:
    """Weights of the head with the centring of its input folded in."""
    state = {"down.weight": head.down.weight, "down.bias": head.down.bias}
    for name, layer in (("up", head.up), ("skip", head.skip)):
        weight = layer.weight / head.spread
        state[f"{name}.weight"] = weight
        state[f"{name}.bias"] = layer.bias - weight @ head.center
    return state


def export_vocabulary(tokenizer: Path, target: Path) -> None:
    """Write the word pieces of a ``tokenizer.json``, one a line in the order of their ids."""
    pieces = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    target.write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.__getitem__)), encoding="utf-8")
