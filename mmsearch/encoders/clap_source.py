"""The id of a CLAP model in, where its files come from out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mmsearch.encoders.model_folder import resolved
from mmsearch.errors import UnknownEncoderError

__all__ = ["CONFIG", "FAMILY", "ClapSource", "is_clap"]

FAMILY = "clap"
CONFIG = "config.json"
_HUB, _FOLDER = "hf-hub:", "local-dir:"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ClapSource:
    """Which CLAP model is meant.

    Attributes:
        id: The one spelling that libraries remember.
        repository: Its name on the Hugging Face hub; None for a folder.
        local: The user's own folder; None for a repository.
    """

    id: str
    repository: str | None
    local: Path | None

    @classmethod
    def parse(cls, name: str) -> ClapSource:
        """Read an id; the grammar stands in `mmsearch.encoders.load_encoder`.

        Whether a folder exists is not asked here: a text tower that was exported outlives its checkpoint.

        Raises:
            UnknownEncoderError: It does not follow the grammar, or the folder holds something else.
        """
        rest = name.removeprefix(f"{FAMILY}/")
        if rest.startswith((_FOLDER, "/", "./", "../", "~")) or Path(rest).is_absolute():
            folder = resolved(rest.removeprefix(_FOLDER))
            if os.path.exists(folder) and not is_clap(folder):
                raise UnknownEncoderError(
                    f"{folder} is no folder with the {CONFIG} of a CLAP model.",
                    hint="Save one there with ClapModel.save_pretrained and ClapProcessor.save_pretrained.",
                )
            return cls(f"{FAMILY}/{_FOLDER}{folder}", None, folder)
        repository = rest.removeprefix(_HUB)
        if not _REPOSITORY.fullmatch(repository):
            raise UnknownEncoderError(
                f"There is no model {name!r}.",
                hint=f"Write {FAMILY}/<organisation>/<name> or {FAMILY}/{_FOLDER}<folder>, or see what there is: "
                "mmsearch models list",
            )
        return cls(f"{FAMILY}/{repository}", repository, None)


def is_clap(folder: Path) -> bool:
    """Whether a folder holds the configuration of a CLAP model."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("model_type") == FAMILY
