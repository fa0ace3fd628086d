"""Texts go in, embeddings come out: the text tower of ``mini`` in NumPy, over a memory-mapped safetensors file.

Matrices are stored as int8 with one scale for each row of outputs and multiplied as float32. For one query this is
ready sooner than an ONNX Runtime session, since only the rows of the words at hand are read and nothing is compiled.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.wordpiece import WordPiece
from mmsearch.errors import EncoderError, ModelMissingError

__all__ = ["Shape", "TextTower", "read_safetensors", "read_shape"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I32": np.int32}
EPSILON = 1e-12
# Texts of one length go through the layers together, this many tokens at a time: larger batches leave the cache.
TOKENS_AT_ONCE = 2048
# From this many texts on, keeping the unpacked matrices (40 MB) pays for itself.
TEXTS_WORTH_UNPACKING = 16


HINT = "Install mmsearch again: pip install --force-reinstall mmsearch"
# What the towers measure where their metadata does not say so.
DIM, SIDE = 256, 260


@dataclass(frozen=True, slots=True)
class Shape:
    """What the metadata of ``mini_text.safetensors`` tell of a model.

    Attributes:
        dim: Length of its embeddings.
        side: Side in pixels of the square that its image tower reads.
        depth, heads: Layers of the text tower, and heads of each.
        limit: Most tokens that a text may have.
    """

    dim: int
    side: int
    depth: int
    heads: int
    limit: int


def read_safetensors(path: Path, *, hint: str = HINT) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Map a safetensors file into memory.

    Args:
        path: The file.
        hint: What helps where it cannot be read.

    Returns:
        Arrays over the file's own pages, read-only, and the file's metadata.

    Raises:
        ModelMissingError: The file is not there or not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        arrays = {}
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            kind = np.dtype(TYPES[entry["dtype"]])
            flat = np.frombuffer(data, kind, count=(stop - start) // kind.itemsize, offset=8 + size + start)
            arrays[name] = flat.reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, hint) from error
    return arrays, metadata


def read_shape(path: Path, *, hint: str = HINT) -> Shape:
    """What a model measures, from the head of its ``mini_text.safetensors``.

    Raises:
        ModelMissingError: The file is not there or not one of these.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), path.stat().st_size)))
        return _shape(header["__metadata__"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, hint) from error


def _shape(metadata: dict[str, str]) -> Shape:
    values = {"dim": DIM, "side": SIDE, **json.loads(metadata["shape"])}
    return Shape(**{name: int(values[name]) for name in Shape.__slots__})


def _unreadable(path: Path, hint: str) -> ModelMissingError:
    return ModelMissingError(f"The weights in {path} cannot be read.", hint=hint)


class TextTower:
    """MiniLM and a projection, as they were trained for ``mini``.

    Args:
        folder: Where ``mini_text.safetensors`` and ``mini_vocabulary.txt`` lie.
        hint: What helps where they cannot be read.

    Raises:
        ModelMissingError: One of them is not there or not readable, or they do not belong together.
    """

    def __init__(self, folder: Path, *, hint: str = HINT) -> None:
        path, vocabulary = folder / "mini_text.safetensors", folder / "mini_vocabulary.txt"
        self._arrays, metadata = read_safetensors(path, hint=hint)
        try:
            shape = _shape(metadata)
            pieces = WordPiece(vocabulary)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise _unreadable(path if "shape" not in metadata else vocabulary, hint) from error
        if "words" not in self._arrays or len(self._arrays["words"]) != len(pieces):
            raise ModelMissingError(f"{vocabulary} and {path.name} do not belong together.", hint=hint)
        self._path = path
        self._depth, self._heads = shape.depth, shape.heads
        self.limit, self.dim = shape.limit, shape.dim
        self._pieces = pieces
        self._unpacked: dict[str, Array] = {}

    def encode(self, texts: Sequence[str]) -> Array:
        """Embed texts; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The weights are not those of such a tower.
        """
        try:
            return self._encoded(texts)
        except (KeyError, IndexError, ValueError) as error:
            raise EncoderError(f"The weights in {self._path} are not those of a text tower: {error}.") from error

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of the word pieces of each text between its two marks, cut at the limit."""
        return self._pieces.encode_all(texts, self.limit)

    def _encoded(self, texts: Sequence[str]) -> Array:
        keep = len(texts) >= TEXTS_WORTH_UNPACKING
        tokens = self.tokenise(texts)
        embeddings = np.empty((len(texts), self.dim), np.float32)
        for chosen in _alike(tokens):
            embeddings[chosen] = self._embed(np.array([tokens[i] for i in chosen]), keep)
        return embeddings

    def states(self, texts: Sequence[str], depths: Sequence[int] = (0,)) -> list[tuple[list[int], Array]]:
        """What the tower makes of each word piece of some texts, before it sums them up.

        Args:
            texts: Those beyond the token limit are cut.
            depths: After how many layers the states are taken, one or more times; 0 for all.

        Returns:
            For each text the ids of its t pieces, between its two marks, and their states (t, depths * width) float32.

        Raises:
            EncoderError: The weights are not those of such a tower.
        """
        try:
            keep = len(texts) >= TEXTS_WORTH_UNPACKING
            tokens = self.tokenise(texts)
            states: list[Array] = [np.zeros((0, 0), np.float32)] * len(texts)
            for chosen in _alike(tokens):
                layers = self._layers(np.array([tokens[i] for i in chosen]), keep, max(depths) if all(depths) else 0)
                found = np.concatenate([layers[depth or len(layers) - 1] for depth in depths], axis=-1)
                for place, own in zip(chosen, found, strict=True):
                    states[place] = own
            return list(zip(tokens, states, strict=True))
        except (KeyError, IndexError, ValueError) as error:
            raise EncoderError(f"The weights in {self._path} are not those of a text tower: {error}.") from error

    def piece(self, id_: int) -> str:
        """The word piece of an id; one that goes on a word begins with ``##``."""
        return self._pieces.piece(id_)

    def _layers(self, ids: NDArray[np.int64], keep: bool, depth: int = 0) -> list[Array]:
        """(n, t) ids of texts of one length -> (n, t, width) before and after each of so many layers, 0 for all."""
        arrays = self._arrays
        words = arrays["words"][ids].astype(np.float32) * arrays["words.scale"][ids][..., None]
        x = words + arrays["places"][: ids.shape[1]]  # (n, t, width)
        n, t, width = x.shape
        x = self._norm(x.reshape(n * t, width), "norm")
        found = [x]
        for layer in range(depth or self._depth):
            found.append(self._layer(found[-1], n, t, f"layers.{layer}", keep))
        return [states.reshape(n, t, width) for states in found]

    def _embed(self, ids: NDArray[np.int64], keep: bool) -> Array:
        """(n, t) ids of texts of one length -> (n, dim)."""
        pooled = self._layers(ids, keep)[-1].mean(axis=1)  # (n, width)
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), EPSILON)
        hidden = self._linear(pooled, "head.up", keep)
        projected = self._linear(pooled, "head.skip", keep) + self._linear(_gelu(hidden), "head.down", keep)
        projected /= np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), EPSILON)
        return projected

    def _layer(self, x: Array, n: int, t: int, name: str, keep: bool) -> Array:
        """(n * t, width) -> (n * t, width): attention and feed-forward, each with its sum and norm."""
        width = x.shape[1]
        size = width // self._heads
        qkv = self._linear(x, f"{name}.qkv", keep).reshape(n, t, 3, self._heads, size).transpose(2, 0, 3, 1, 4)
        scores = np.matmul(qkv[0], qkv[1].swapaxes(-1, -2)) * np.float32(size**-0.5)  # (n, heads, t, t)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        attended = np.matmul(scores, qkv[2]).transpose(0, 2, 1, 3).reshape(n * t, width)
        x = self._norm(x + self._linear(attended, f"{name}.out", keep), f"{name}.norm1")
        inner = _gelu(self._linear(x, f"{name}.up", keep))
        return self._norm(x + self._linear(inner, f"{name}.down", keep), f"{name}.norm2")

    def _linear(self, x: Array, name: str, keep: bool) -> Array:
        """(n, c_in) -> (n, c_out)."""
        weight = self._unpacked.get(name)
        if weight is None:
            weight = self._arrays[f"{name}.weight"].astype(np.float32)  # (c_out, c_in)
            if keep:
                self._unpacked[name] = weight
        y: Array = x @ weight.T
        y *= self._arrays[f"{name}.scale"]
        y += self._arrays[f"{name}.bias"]
        return y

    def _norm(self, x: Array, name: str) -> Array:
        """Layer norm over the last axis."""
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON)
        x *= self._arrays[f"{name}.weight"]
        x += self._arrays[f"{name}.bias"]
        return x


def _alike(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of texts of one length, as many as go through the layers together."""
    by_length: dict[int, list[int]] = {}
    for position, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(position)
    for length, positions in sorted(by_length.items()):
        step = max(1, TOKENS_AT_ONCE // length)
        yield from (positions[start : start + step] for start in range(0, len(positions), step))


def _gelu(x: Array) -> Array:
    """GELU in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415)."""
    y = x * x
    y *= 0.044715
    y += 1.0
    y *= x
    y *= np.float32(0.7978845608)
    np.tanh(y, out=y)
    y += 1.0
    y *= x
    y *= 0.5
    return y
