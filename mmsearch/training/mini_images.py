"""The image towers of the built-in model as they learn: features of a backbone, and a head that reads them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.errors import ModelMissingError
from mmsearch.training.backbone import ImageBackbone
from mmsearch.training.heads import Head, exported_head
from mmsearch.training.towers import ImageTower

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["GraphImages", "MiniImages", "RefittedImages", "TunedImages"]


class MiniImages(ImageTower):
    """Features, and a head that makes embeddings of them; subclasses say where the features come from.

    Attributes:
        head: What learns in any case.
        taught: How many of the features the ImageNet classifier reads; 0 where there is no classifier.
    """

    cached = True
    head: Head
    taught: int
    _session: Any = None
    _taught_by: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the runtime's sessions, which a copy makes anew when it needs them."""
        return {**self.__dict__, "_session": None, "_taught_by": None}

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squash a picture to the square: (side, side, 3) uint8, as `MiniEncoder.prepare_image` does."""
        from PIL import Image as PillowImage

        resized = image.resize((self.side, self.side), PillowImage.Resampling.BICUBIC, reducing_gap=2.0)
        return np.asarray(resized, dtype=np.uint8)

    def features(self, rows: Tensor) -> Tensor:
        """(n, ...) what `frozen` gave -> (n, w) what the head reads."""
        return rows

    def original(self, rows: Tensor) -> Tensor:
        """(n, ...) what `frozen` gave -> (n, taught) what the ImageNet classifier reads, before any training."""
        return rows[:, : self.taught]

    def forward(self, features: Tensor) -> Tensor:
        """(n, ...) what `frozen` gave -> (n, dim), rows L2-normalised."""
        embeddings: Tensor = self.head(self.features(features))
        return embeddings


class GraphImages(MiniImages):
    """The backbone of a model in the built-in format, in integers and frozen; its head learns.

    Args:
        file: ``mini_image.onnx``.

    Raises:
        ModelMissingError: The file is not there or not in the built-in format.
    """

    taught = 0

    def __init__(self, file: Path) -> None:
        super().__init__()
        import onnx
        from onnx import numpy_helper

        try:
            model = onnx.load(os.fspath(file))
            weights = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
            first = next(node for node in model.graph.node if "head.center" in node.input)
            self.head = exported_head(weights)
            self.side = int(model.graph.input[0].type.tensor_type.shape.dim[1].dim_value)
        except Exception as error:  # a damaged file can fail in any way
            raise ModelMissingError(
                f"{file} is no image tower in the built-in format.", hint="Give a folder that mmsearch train has made."
            ) from error
        self.file = file
        self.dim = self.head.down.out_features
        # The graph without its head; ONNX Runtime leaves out what its output does not need.
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(first.input[0], onnx.TensorProto.FLOAT, None))
        self._graph = model.SerializeToString()
        self.key = f"graph-{hashlib.sha256(self._graph).hexdigest()[:16]}"

    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        """(n, side, side, 3) -> (n, w) features."""
        self._session = self._session or _session(self._graph)
        return np.asarray(self._session.run(None, {"images": batch})[0])


class RefittedImages(GraphImages):
    """A tower in integers whose head learns to give what the same tower gave in floating point.

    Args:
        file: The tower in integers.
        teacher: The same tower in floating point, as an ONNX graph.
    """

    def __init__(self, file: Path, teacher: bytes) -> None:
        super().__init__(file)
        self._teacher = teacher
        self.key += f"-taught-{hashlib.sha256(teacher).hexdigest()[:16]}"

    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        """(n, side, side, 3) -> (n, w + dim): features in integers, and the teacher's embeddings."""
        self._taught_by = self._taught_by or _session(self._teacher)
        return np.concatenate([super().frozen(batch), self._taught_by.run(None, {"images": batch})[0]], axis=1)

    def features(self, rows: Tensor) -> Tensor:
        """(n, w + dim) -> (n, w)."""
        return rows[:, : -self.dim]

    def wanted(self, rows: Tensor) -> Tensor:
        """(n, w + dim) -> (n, dim) the teacher's embeddings, L2-normalised."""
        return nn.functional.normalize(rows[:, -self.dim :], dim=1)


class TunedImages(MiniImages):
    """A backbone in floating point whose last units may learn.

    What is kept of a photo is the map before those units and, beside it, all features as they were before training.

    Args:
        backbone: With its weights.
        head: Reads its features.
        tuned: How many of the last units learn; 0 leaves the backbone as it is.
        origin: Names the weights.
    """

    def __init__(self, backbone: ImageBackbone, head: Head, tuned: int, origin: str) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.head = head
        self.side, self.dim, self.taught = backbone.side, head.down.out_features, backbone.width
        self.tuned = 0
        self._units = tuned
        with torch.inference_mode():
            example = torch.zeros(1, self.side, self.side, 3, dtype=torch.uint8)
            self._shape = tuple(backbone.before(backbone.early(backbone.pixels(example)), tuned).shape[1:])
        self.key = f"backbone-{origin}-{self.side}-{backbone.grid}-{tuned}"

    def tune(self) -> None:
        """From now on the last units learn."""
        self.tuned = self._units
        late = self.backbone.late[len(self.backbone.late) - self.tuned :]
        late.requires_grad_(True).to(memory_format=torch.channels_last)  # three times as fast on processors

    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        """(n, side, side, 3) -> (n, m + w): the map before the last units, flat, and the features as they were."""
        if self._session is None:
            from mmsearch.training.export import graph_of

            self._session = _session(graph_of(_Kept(self.backbone, self._units), self.side))
        return np.asarray(self._session.run(None, {"images": batch})[0])

    def features(self, rows: Tensor) -> Tensor:
        """(n, m + w) -> (n, w)."""
        width = rows.shape[1] - int(np.prod(self._shape))
        kept = rows[:, -width:]
        if not self.tuned:
            return kept
        device = rows.device.type
        # Depthwise convolutions are slower in bf16 than in float32 on processors.
        with torch.autocast(device, enabled=False) if device == "cpu" else contextlib.nullcontext():
            cut = rows[:, :-width].reshape(-1, *self._shape).contiguous(memory_format=torch.channels_last)
            return torch.cat([self.backbone.after(cut, self.tuned), kept[:, self.taught :]], dim=1)

    def original(self, rows: Tensor) -> Tensor:
        """(n, m + w) -> (n, taught)."""
        start = int(np.prod(self._shape))
        return rows[:, start : start + self.taught]


class _Kept(nn.Module):
    """The backbone as a graph whose output is what `TunedImages` keeps."""

    def __init__(self, backbone: ImageBackbone, units: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.units = units

    def forward(self, images: Tensor) -> Tensor:
        cut = self.backbone.early(self.backbone.pixels(images))
        before = self.backbone.before(cut, self.units)
        after = self.backbone.after(before, self.units)
        return torch.cat([before.flatten(1), after, self.backbone.of_cut(cut)], dim=1)


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
