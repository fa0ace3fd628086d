"""What mmsearch keeps of a model beside its weights: a folder with its description and its exported text tower."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmsearch import config
from mmsearch.errors import StorageError, UnknownEncoderError

__all__ = [
    "MINI_FILES",
    "PASSAGE_GRAPH",
    "SOUND_FILE",
    "TEXT_GRAPH",
    "ModelFolder",
    "ModelMeta",
    "TextMeta",
    "Weights",
    "hub_folder",
    "models_folder",
    "resolved",
]

MINI_FILES = ("mini_image.onnx", "mini_text.safetensors", "mini_vocabulary.txt")
"""The files of a model in the built-in format."""

SOUND_FILE = "mini_sound.onnx"
"""Its audio tower, which not every such model has."""

TEXT_GRAPH, PASSAGE_GRAPH = "mini_texts.onnx", "mini_passages.onnx"
"""The text tower in integers for many passages at once, and a smaller one for long passages; both may be absent."""

_FORMAT = 1  # of meta.json and of what lies beside it; another number means: export again
_META = "meta.json"
_ABANDONED_S = 3600.0


@dataclass(frozen=True, slots=True)
class Weights:
    """The checkpoint from which something was made, to notice when it changes.

    Attributes:
        path: The checkpoint, or a folder with one.
        size_bytes, mtime_ns: Of the file, or summed up and the latest over the folder.
        sha256: Of the content, in hexadecimal.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Weights:
        """Measure and hash a checkpoint or a folder with one."""
        digest = hashlib.sha256()
        files = _weight_files(path)
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
        return cls(str(path), *_stat(files), digest.hexdigest())

    def untouched(self) -> bool:
        """Whether size and time are those that were measured."""
        try:
            return _stat(_weight_files(Path(self.path))) == (self.size_bytes, self.mtime_ns)
        except OSError:
            return False

    def changed(self) -> bool:
        """Whether the checkpoint holds something else by now; one that is gone has not changed."""
        path = Path(self.path)
        try:
            return path.exists() and not self.untouched() and Weights.of(path).sha256 != self.sha256
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class TextMeta:
    """How the exported text tower is fed.

    Attributes:
        folder: Name of the folder, inside the model's, that holds ``text.onnx`` and the tokenizer.
        context_length: Most tokens it takes.
        trimmed: Whether it takes fewer as well; otherwise every text is padded to the context length.
        pad_id: Token that fills up.
        clean: How a text is cleaned before it is cut into tokens: ``lower``, ``whitespace`` or ``canonicalize``.
        wrap: Tokens that go before and after a text; None where the tokenizer itself adds them.
        zeroed: Token that is replaced by 0, or None.
        special: Tokens that stand for themselves in a text, for a tokenizer that is made of its byte pairs.
    """

    folder: str
    context_length: int
    trimmed: bool
    pad_id: int
    clean: str
    wrap: tuple[int, int] | None
    zeroed: int | None = None
    special: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelMeta:
    """What can be known of a model without loading it.

    Attributes:
        transform: For `ImageTransform.from_config`.
        text: Its exported text tower; None where that was not possible, for the `reason` given.
    """

    id: str
    dim: int
    transform: Mapping[str, Any]
    weights: Weights
    text: TextMeta | None
    reason: str | None = None


class ModelFolder:
    """The folder of one model in the cache; nothing is made before `write`."""

    def __init__(self, model_id: str) -> None:
        self.id = model_id
        readable = re.sub(r"[^A-Za-z0-9._]+", "-", model_id).strip("-")[-80:]
        self.path = models_folder() / f"{readable}-{hashlib.sha256(model_id.encode()).hexdigest()[:8]}"

    @staticmethod
    def described() -> list[ModelMeta]:
        """The descriptions of all models in the cache."""
        ids: list[str] = []
        for file in sorted(models_folder().glob(f"*/{_META}")):
            try:
                ids.append(str(json.loads(file.read_text(encoding="utf-8"))["id"]))
            except (OSError, ValueError, TypeError, KeyError):
                continue
        found = [ModelFolder(model_id).read() for model_id in ids]
        return [meta for meta in found if meta is not None]

    def read(self) -> ModelMeta | None:
        """Its description; None where there is none, it is damaged, or another version of mmsearch made it."""
        try:
            meta = _decoded(json.loads((self.path / _META).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if meta.id != self.id or (meta.text and not (self.path / meta.text.folder / "text.onnx").is_file()):
            return None
        return meta

    def new_part(self) -> Path:
        """An empty folder inside, for an export that is not yet the valid one.

        Raises:
            StorageError: The disk is full or not writable.
        """
        part = self.path / f"text-{os.urandom(4).hex()}"
        try:
            part.mkdir(parents=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        return part

    def write(self, meta: ModelMeta) -> None:
        """Make a description, and the export that it names, the valid one at a stroke; old exports are deleted.

        Raises:
            StorageError: The disk is full or not writable.
        """
        import shutil

        before = self.read()
        replaced = before.text.folder if before and before.text else None
        written = self.path / f"{_META}.{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with written.open("w", encoding="utf-8") as stream:
                json.dump({"format": _FORMAT, **asdict(meta)}, stream, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            written.replace(self.path / _META)
        except OSError as error:
            with suppress(OSError):
                written.unlink(missing_ok=True)
            raise unwritable(self.path, error) from error
        for part in self.path.glob("text-*"):
            # A young one may be another process's, not yet valid.
            old = time.time() - part.stat().st_mtime > _ABANDONED_S or part.name == replaced
            if old and part.name != (meta.text.folder if meta.text else None):
                shutil.rmtree(part, ignore_errors=True)

    def size_bytes(self) -> int:
        """What it takes on the disk."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


def models_folder() -> Path:
    """Where the folders of all models lie."""
    return config.cache_folder() / "models"


def hub_folder() -> Path:
    """Where pulled weights lie, as the hub's own client lays them out."""
    return config.cache_folder() / "hub"


def resolved(path: str) -> Path:
    """One spelling for one place, so that a library knows its model from any working directory.

    Raises:
        UnknownEncoderError: It cannot be a path, or not one that can be written down.
    """
    try:
        path.encode()
        if "\x00" in path:
            raise ValueError("a null character")
    except ValueError as error:
        raise UnknownEncoderError(
            f"{path!r} is no path that can be remembered.", hint="See what there is: mmsearch models list"
        ) from error
    return Path(os.path.realpath(os.path.expanduser(path)))


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error for a cache that cannot be written to."""
    reason = error.strerror or str(error)
    return StorageError(
        f"The model cache {path} cannot be written: {reason}.", hint="Choose another folder with MMSEARCH_CACHE."
    )


def _decoded(values: dict[str, Any]) -> ModelMeta:
    if values.pop("format") != _FORMAT:
        raise ValueError("another format")
    text = values.pop("text")
    if text is not None:
        wrap, special = text.pop("wrap"), tuple(text.pop("special"))
        text = TextMeta(wrap=None if wrap is None else (int(wrap[0]), int(wrap[1])), special=special, **text)
    return ModelMeta(weights=Weights(**values.pop("weights")), text=text, **values)


def _weight_files(path: Path) -> list[Path]:
    """The checkpoint itself, or everything in a folder that can make a difference to a model."""
    if path.is_file():
        return [path]
    if not (path / "open_clip_config.json").exists() and (path / MINI_FILES[1]).exists():
        others = [name for name in (SOUND_FILE, TEXT_GRAPH, PASSAGE_GRAPH) if (path / name).is_file()]
        return [path / name for name in (*MINI_FILES, *others)]  # beside them may lie whatever training left there
    suffixes = {".bin", ".json", ".model", ".pt", ".pth", ".safetensors", ".txt"}
    return sorted(file for file in path.iterdir() if file.is_file() and file.suffix in suffixes)


def _stat(files: list[Path]) -> tuple[int, int]:
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
