"""The towers of the built-in model as they learn: an ImageNet backbone and a sentence encoder, each with a head.

They begin from published weights (`published_towers`) or from a model in the built-in format (`folder_towers`), such as
``mini`` itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encoders.mini_text import read_safetensors
from mmsearch.encoders.wordpiece import WordPiece
from mmsearch.errors import ModelMissingError
from mmsearch.training.backbone import ImageBackbone, load_backbone
from mmsearch.training.heads import Head
from mmsearch.training.text_tower import SentenceTransformer, load_sentence_transformer
from mmsearch.training.towers import DualEncoder, ImageTower, TextTower

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "GraphImages",
    "MiniImages",
    "MiniTexts",
    "RefittedImages",
    "TunedImages",
    "folder_towers",
    "published_towers",
]

_TEXTS_AT_ONCE = 112
_FEATURES = "features"


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
            self.head = _head_of(weights)
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


class MiniTexts(TextTower):
    """A sentence encoder and a head.

    Args:
        sentences: The encoder; its last layers may learn.
        head: Reads the mean over the tokens, L2-normalised.
        vocabulary: File with the word pieces, one a line.
        limit: Tokens that a text is cut at.
        origin: Names the encoder's weights.
    """

    def __init__(self, sentences: SentenceTransformer, head: Head, vocabulary: Path, limit: int, origin: str) -> None:
        super().__init__()
        self.sentences = sentences.eval().requires_grad_(False)
        self.head = head
        self.dim = head.down.out_features
        self.vocabulary = vocabulary
        self.limit = limit
        self.tuned = 0
        self.cached = True
        self.key = f"sentences-{origin}-{limit}"
        self._pieces = WordPiece(vocabulary)

    def tune(self, layers: int) -> None:
        """From now on so many of the last layers learn."""
        self.tuned = layers
        if layers:
            self.cached = False
            self.sentences.layers[-layers:].requires_grad_(True)

    def settle(self) -> None:
        """From now on nothing of it learns, as far as it has come."""
        self.requires_grad_(False)
        self.tuned, self.cached = 0, True
        digest = hashlib.sha256()
        for value in self.sentences.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.key = f"sentences-{digest.hexdigest()[:16]}-{self.limit}"

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence, cut at the limit."""
        return [list(self._pieces.encode(text, self.limit)) for text in texts]

    @torch.inference_mode()
    def frozen(self, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        """(n, width) means over the tokens, L2-normalised."""
        return self._read(tokens).cpu().numpy()

    def forward(self, features: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """Features or token ids -> (n, dim), rows L2-normalised."""
        read = features if isinstance(features, Tensor) else self._read(features)
        embeddings: Tensor = self.head(read)
        return embeddings

    def _read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Sentence features, with gradients in the tuned layers only; sentences of like length go together."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        fixed = len(self.sentences.layers) - self.tuned
        parts = []
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            ids, mask = padded([tokens[i] for i in order[start : start + _TEXTS_AT_ONCE]], self.head.up.weight.device)
            with torch.no_grad():
                hidden = self.sentences.run(self.sentences.embed(ids), mask, 0, fixed)
            parts.append(self.sentences.pool(self.sentences.run(hidden, mask, fixed).float(), mask))
        features = torch.cat(parts)[torch.tensor(order).argsort()]
        return nn.functional.normalize(features, dim=1)


def padded(tokens: Sequence[Sequence[int]], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Token ids (n, t) with zeros after the end, and where tokens stand (n, t)."""
    longest = max(len(ids) for ids in tokens)
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)
    mask = torch.zeros(len(tokens), longest, dtype=torch.bool)
    for row, sentence in enumerate(tokens):
        ids[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = True
    return ids.to(device), mask.to(device)


def published_towers(
    backbone: Path,
    sentences: Path,
    vocabulary: Path,
    *,
    architecture: str = "tf_efficientnet_lite2",
    side: int = 260,
    grid: int = 2,
    tuned: int = 3,
    hidden: int = 1536,
    dim: int = 256,
    dropout: float = 0.4,
    text_dropout: float = 0.1,
    limit: int = 128,
) -> tuple[DualEncoder, tuple[Tensor, Tensor]]:
    """Towers with new heads on published weights.

    Args:
        backbone: ImageNet weights, a ``.pth``.
        sentences: Folder of a BERT-like sentence encoder: ``model.safetensors``, ``tokenizer.json``.
        vocabulary: Where its word pieces are written to.
        architecture: timm's name of the backbone.
        side: Side of the photos in pixels.
        grid: See `ImageBackbone`.
        tuned: Last units of the backbone that may learn.
        hidden: Width of the heads' hidden layers.
        dim: Length of the embeddings.
        dropout: Of the image head; see `Head`.
        text_dropout: Of the text head.
        limit: Tokens that a text is cut at.

    Returns:
        The model, and the ImageNet classifier's weight (1000, w) and bias (1000,).

    Raises:
        ModelMissingError: Weights are not there or not what they should be.
    """
    from mmsearch.training.export import export_vocabulary

    try:
        network, *classifier = load_backbone(backbone, architecture, side, grid)
        encoder = load_sentence_transformer(sentences / "model.safetensors")
        export_vocabulary(sentences / "tokenizer.json", vocabulary)
    except (OSError, ValueError, KeyError) as error:
        raise ModelMissingError(f"The published weights cannot be read: {error}.") from error
    images = Head(network.feature_width, hidden, dim, dropout)
    # Unit vectors of length `width` have entries about this size.
    texts = Head(encoder.width, hidden, dim, text_dropout, None, torch.full((encoder.width,), encoder.width**-0.5))
    model = DualEncoder(
        TunedImages(network, images, tuned, _hash(backbone)),
        MiniTexts(encoder, texts, vocabulary, limit, _hash(sentences / "model.safetensors")),
    )
    return model, (classifier[0], classifier[1])


def folder_towers(folder: Path) -> DualEncoder:
    """Towers of a model in the built-in format, such as ``mini`` itself: both heads learn, or more of the text tower.

    Raises:
        ModelMissingError: The folder does not hold such a model.
    """
    file = folder / "mini_text.safetensors"
    arrays, metadata = read_safetensors(file)
    try:
        shape = json.loads(metadata["shape"])
        state = {name: _unpacked(arrays, name) for name in arrays if not name.endswith("scale")}
        encoder = SentenceTransformer(
            len(state["words"]),
            len(state["places"]),
            state["words"].shape[1],
            int(shape["heads"]),
            len(state["layers.0.up.weight"]),
            int(shape["depth"]),
        )
        words, places = state.pop("words"), state.pop("places")
        own = {name: value for name, value in state.items() if not name.startswith("head.")}
        encoder.load_state_dict({**own, "words.weight": words, "places.weight": places})
        head = _new_head({name: value.numpy() for name, value in state.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelMissingError(
            f"{file} is no text tower in the built-in format.", hint="Give a folder that mmsearch train has made."
        ) from error
    texts = MiniTexts(encoder, head, folder / "mini_vocabulary.txt", int(shape["limit"]), _hash(file))
    scale = float(shape.get("scale", 15.0))
    return DualEncoder(GraphImages(folder / "mini_image.onnx"), texts, scale)


def _unpacked(arrays: dict[str, NDArray[Any]], name: str) -> Tensor:
    """A matrix in floating point, whether it is kept as int8 with a scale for each row or not."""
    scale = arrays.get("words.scale" if name == "words" else f"{name.removesuffix('weight')}scale")
    value = np.array(arrays[name], np.float32)
    if scale is not None and arrays[name].dtype == np.int8:
        value *= np.asarray(scale, np.float32)[:, None]
    return torch.from_numpy(value)


def _head_of(weights: dict[str, NDArray[Any]]) -> Head:
    """The head of an exported image tower."""
    plain = {name: value for name, value in weights.items() if name.startswith("head.")}
    for name in ("up", "down", "skip"):
        packed = plain.get(f"head.{name}.weight.packed")
        if packed is not None:
            plain[f"head.{name}.weight"] = packed * plain[f"head.{name}.weight.scale"][:, None]
    return _new_head(plain)


def _new_head(state: dict[str, NDArray[Any]]) -> Head:
    names = ["center", "spread", *(f"{part}.{kind}" for part in ("up", "down", "skip") for kind in ("weight", "bias"))]
    found = {name: torch.tensor(state[f"head.{name}"]).float() for name in names if f"head.{name}" in state}
    hidden, width = found["up.weight"].shape
    head = Head(width, hidden, len(found["down.weight"]))
    head.load_state_dict({"center": torch.zeros(width), "spread": torch.ones(width), **found})
    return head


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
