"""A folder in the built-in format in, the id of what lies there out; notices when that is no longer what it was."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mmsearch.encoders.mini_text import read_shape
from mmsearch.encoders.model_folder import MINI_FILES, ModelFolder, ModelMeta, Weights, resolved
from mmsearch.errors import ModelMissingError, StorageError, UnknownEncoderError

__all__ = ["FAMILY", "MINI_FILES", "MiniSource"]

FAMILY = "mini"
HINT = f"Bring back its files ({', '.join(MINI_FILES)}), train it again, or index with another model."
_FINGERPRINT = re.compile(r"(.+)@([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class MiniSource:
    """Which folder is meant, and which weights in it.

    A folder that is trained again is another space, though its path stays; so the id ends with the beginning of the
    weights' SHA-256, and a library made with the earlier ones refuses the later ones.

    Attributes:
        folder: Where the files lie.
        fingerprint: The first eight hexadecimal digits of their SHA-256.
    """

    folder: Path
    fingerprint: str

    @property
    def id(self) -> str:
        """The one spelling that libraries remember."""
        return f"{FAMILY}/{self.folder}@{self.fingerprint}"

    @classmethod
    def parse(cls, name: str) -> MiniSource:
        """Read an id; the grammar stands in `mmsearch.encoders.load_encoder`.

        With a fingerprint nothing is looked at: what was indexed outlives its model. Without one the files are hashed.

        Raises:
            UnknownEncoderError: There is no such folder.
            ModelMissingError: It is there, but not all of its files are.
        """
        rest = name.removeprefix(f"{FAMILY}/")
        if not rest or rest == name:
            raise _unknown(name)
        folder = resolved(rest)
        known = _FINGERPRINT.fullmatch(rest)
        if known and not folder.is_dir():
            return cls(resolved(known[1]), known[2])
        if not folder.is_dir():
            raise _unknown(name)
        return cls(folder, _measured(folder).sha256[:8])

    def describe(self) -> ModelMeta:
        """What is known of the model, also when its folder is gone; reads and hashes it if that was never done.

        Raises:
            ModelMissingError: It was never read on this machine, and is not there or is another one by now.
        """
        return ModelFolder(self.id).read() or self._read()

    def check(self) -> None:
        """See whether the files are still those of the id; those that were seen before are known by size and time.

        Raises:
            ModelMissingError: They are not there, or are others.
        """
        _complete(self.folder)
        known = ModelFolder(self.id).read()
        if known is None or not known.weights.untouched():
            self._read()

    @property
    def note(self) -> str:
        """What the folder's ``model.json`` says of the model: its description, or else its name."""
        try:
            values = json.loads((self.folder / "model.json").read_text(encoding="utf-8"))
            said = values.get("description") or values.get("name") or ""
        except (OSError, ValueError, AttributeError):
            return ""
        return " ".join(str(said).split())

    def _read(self) -> ModelMeta:
        weights = _measured(self.folder)
        if not weights.sha256.startswith(self.fingerprint):
            raise ModelMissingError(
                f"The model in {self.folder} is another one by now.",
                hint=f"Bring back the files that were indexed with, or make a new library: mmsearch index "
                f"--model {FAMILY}/{self.folder} --library ./new PATH",
            )
        shape = read_shape(self.folder / "mini_text.safetensors", hint=HINT)
        meta = ModelMeta(self.id, shape.dim, {"size": shape.side}, weights, None)
        try:
            ModelFolder(self.id).write(meta)
        except StorageError:  # only time is lost: the files are hashed again the next time
            return meta
        return meta


def _measured(folder: Path) -> Weights:
    _complete(folder)
    try:
        return Weights.of(folder)
    except OSError as error:
        raise ModelMissingError(f"The model in {folder} cannot be read: {error.strerror}.", hint=HINT) from error


def _complete(folder: Path) -> None:
    missing = [name for name in MINI_FILES if not os.path.isfile(folder / name)]
    if missing:
        raise ModelMissingError(f"The model in {folder} lacks {' and '.join(missing)}.", hint=HINT)


def _unknown(name: str) -> UnknownEncoderError:
    return UnknownEncoderError(
        f"There is no model {name!r}.",
        hint=f"Write {FAMILY}/<folder with {MINI_FILES[0]}>, or see what there is: mmsearch models list",
    )
