"""The id of a model as transformers saves them in, where its files come from out; for CLAP and BLIP."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from mmsearch.encoders.model_folder import resolved
from mmsearch.errors import UnknownEncoderError

__all__ = ["CONFIG", "SavedKind", "SavedSource", "is_saved"]

CONFIG = "config.json"
_HUB, _FOLDER = "hf-hub:", "local-dir:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class SavedKind:
    """What sets one kind of model apart from another.

    Attributes:
        family: How its ids begin, and the ``model_type`` in its configuration.
        title: What people call it.
        classes: Those of transformers that save model and processor.
        extra: That of mmsearch which has transformers.
        tokenizer: Sets of files; each makes a tokenizer.
    """

    family: str
    title: str
    classes: tuple[str, str]
    extra: str
    tokenizer: tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class SavedSource:
    """Which model is meant; there is a subclass for each kind.

    Attributes:
        id: The one spelling that libraries remember.
        repository: Its name on the Hugging Face hub; None for a folder.
        local: The user's own folder; None for a repository.
    """

    id: str
    repository: str | None
    local: Path | None

    kind: ClassVar[SavedKind]

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read an id: ``<family>/<organisation>/<name>`` or ``<family>/local-dir:<folder>``.

        Whether a folder exists is not asked here: a text tower that was exported outlives its checkpoint.

        Raises:
            UnknownEncoderError: It does not follow the grammar, or the folder holds something else.
        """
        family, title = cls.kind.family, cls.kind.title
        rest = name.removeprefix(f"{family}/")
        if rest.startswith((_FOLDER, "/", "./", "../", "~")) or Path(rest).is_absolute():
            folder = resolved(rest.removeprefix(_FOLDER))
            if os.path.exists(folder) and not is_saved(folder, cls.kind):
                saved = " and ".join(f"{kind}.save_pretrained" for kind in cls.kind.classes)
                raise UnknownEncoderError(
                    f"{folder} is no folder with the {CONFIG} of a {title} model.", hint=f"Save one there with {saved}."
                )
            return cls(f"{family}/{_FOLDER}{folder}", None, folder)
        repository = rest.removeprefix(_HUB)
        if not _REPOSITORY.fullmatch(repository):
            raise UnknownEncoderError(
                f"There is no model {name!r}.",
                hint=f"Write {family}/<organisation>/<name> or {family}/{_FOLDER}<folder>, or see what there is: "
                "mmsearch models list",
            )
        return cls(f"{family}/{repository}", repository, None)


def is_saved(folder: Path, kind: SavedKind) -> bool:
    """Whether a folder holds the configuration of a model of that kind."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("model_type") == kind.family
