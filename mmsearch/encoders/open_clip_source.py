"""The id of an open_clip model in, where its weights come from out; reads open_clip's tables without importing it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmsearch.encoders.model_folder import resolved
from mmsearch.errors import UnknownEncoderError

if TYPE_CHECKING:
    import ast

__all__ = ["FAMILY", "OpenClipSource", "known_models", "known_tags"]

FAMILY = "open_clip"
_HUB, _FOLDER = "hf-hub:", "local-dir:"
_CHECKPOINT_SUFFIXES = {".bin", ".ckpt", ".npz", ".pt", ".pth", ".safetensors"}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_LIST = "See what there is: mmsearch models list"


@dataclass(frozen=True, slots=True)
class OpenClipSource:
    """Which open_clip model is meant.

    Attributes:
        id: The one spelling that libraries remember.
        kind: ``tag`` for published weights of a known architecture, ``file`` for one's own checkpoint of it, ``hub``
            for a repository on the Hugging Face hub, ``folder`` for such a repository on this disk.
        model: The first argument of `open_clip.create_model`: an architecture, or a ``hf-hub:`` or ``local-dir:`` name.
        pretrained: Tag or checkpoint file; None where `model` says it all.
    """

    id: str
    kind: Literal["tag", "file", "hub", "folder"]
    model: str
    pretrained: str | None = None

    @property
    def local(self) -> Path | None:
        """The user's own file or folder, if that is what is meant."""
        if self.kind == "folder":
            return Path(self.model.removeprefix(_FOLDER))
        return Path(self.pretrained) if self.kind == "file" and self.pretrained else None

    @property
    def repository(self) -> str | None:
        """The hub repository that the id names, if it names one."""
        return self.model.removeprefix(_HUB) if self.kind == "hub" else None

    @classmethod
    def parse(cls, name: str) -> OpenClipSource:
        """Read an id; the grammar stands in `mmsearch.encoders.load_encoder`.

        Whether a path exists is not asked here: a text tower that was exported outlives its checkpoint.

        Raises:
            UnknownEncoderError: It does not follow the grammar, or names no model or tag that exists.
        """
        rest = name.removeprefix(f"{FAMILY}/")
        if rest.startswith(_HUB):
            repository = rest.removeprefix(_HUB)
            if not _REPOSITORY.fullmatch(repository):
                raise UnknownEncoderError(
                    f"{name!r} names no hub repository.", hint=f"Write {FAMILY}/{_HUB}<organisation>/<name>."
                )
            return cls(f"{FAMILY}/{_HUB}{repository}", "hub", f"{_HUB}{repository}")
        if rest.startswith((_FOLDER, "/", "./", "../", "~")) or Path(rest).is_absolute():
            folder = resolved(rest.removeprefix(_FOLDER))
            if os.path.exists(folder) and not os.path.isfile(folder / "open_clip_config.json"):
                raise UnknownEncoderError(
                    f"{folder} is no folder with an open_clip_config.json.",
                    hint=f"For a single checkpoint write {FAMILY}/<architecture>/{folder}",
                )
            return cls(f"{FAMILY}/{_FOLDER}{folder}", "folder", f"{_FOLDER}{folder}")
        architecture, _, weights = rest.partition("/")
        architecture = _known_architecture(architecture, name)
        if not weights:
            choices = [tag for tag in known_tags().get(architecture, ()) if "_s_" not in tag and "_m_" not in tag]
            raise UnknownEncoderError(
                f"{name!r} does not say which weights to use.",
                hint=f"Write {FAMILY}/{architecture}/ and one of {', '.join(choices)}, or a checkpoint file."
                if choices
                else f"Write {FAMILY}/{architecture}/<checkpoint file>.",
            )
        if _is_path(weights):
            checkpoint = resolved(weights)
            if os.path.isdir(checkpoint):
                raise UnknownEncoderError(
                    f"{checkpoint} is a folder, not a checkpoint.", hint=f"Write {FAMILY}/{_FOLDER}{checkpoint}"
                )
            return cls(f"{FAMILY}/{architecture}/{checkpoint}", "file", architecture, str(checkpoint))
        tag = weights.lower().replace("-", "_")  # open_clip takes either
        # Architectures of this ending only add an activation that the weights demand anyway; see `load_model`.
        plain = architecture.removesuffix("-quickgelu")
        published = known_tags()
        if tag in published.get(plain, ()) or not published:
            architecture = plain
        elif tag not in published.get(architecture, ()):
            raise _unknown(name, f"{FAMILY}/{architecture}/{tag}")
        return cls(f"{FAMILY}/{architecture}/{tag}", "tag", architecture, tag)


def known_models() -> tuple[str, ...]:
    """Names of the architectures that the installed open_clip knows; empty where it is not installed."""
    loaded = sys.modules.get("open_clip")
    if loaded is not None:  # with what was registered since
        return tuple(loaded.list_models())
    package = _package()
    return tuple(sorted(file.stem for file in package.glob("model_configs/*.json"))) if package else ()


@lru_cache(maxsize=1)
def known_tags() -> dict[str, tuple[str, ...]]:
    """Tags of published weights by architecture; empty where open_clip is not installed or hides them.

    Importing open_clip costs seconds, so its table, which is a literal built of calls, is read from the source.
    """
    import ast

    package = _package()
    try:
        tree = ast.parse((package / "pretrained.py").read_bytes()) if package else None
    except (OSError, SyntaxError):
        return {}
    tables: dict[str, tuple[str, ...]] = {}
    models: dict[str, tuple[str, ...]] = {}
    for statement in tree.body if tree else ():
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        variable, value = statement.targets[0].id, statement.value
        if isinstance(value, ast.Call):
            tables[variable] = _keywords(value)
        elif variable == "_PRETRAINED" and isinstance(value, ast.Dict):
            for key, table in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant):
                    tags = tables.get(table.id, ()) if isinstance(table, ast.Name) else _keywords(table)
                    models[str(key.value)] = tags
    return {model: tags for model, tags in models.items() if tags}


def _keywords(node: ast.expr) -> tuple[str, ...]:
    import ast

    return tuple(word.arg for word in node.keywords if word.arg) if isinstance(node, ast.Call) else ()


def _package() -> Path | None:
    try:
        spec = find_spec("open_clip")
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _known_architecture(architecture: str, name: str) -> str:
    """Its proper spelling, whatever the case; taken as it is where open_clip is not installed."""
    models = known_models()
    spelling = {model.lower(): model for model in models}.get(architecture.lower())
    if spelling is None and models:
        raise _unknown(name, name)
    return spelling or architecture


def _unknown(name: str, spelled: str) -> UnknownEncoderError:
    import difflib

    ids = [f"{FAMILY}/{model}/{tag}" for model, tags in known_tags().items() for tag in tags]
    matches = difflib.get_close_matches(spelled, ids, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(matches)}? " if matches else ""
    return UnknownEncoderError(f"There is no model {name!r}.", hint=meant + _LIST)


def _is_path(weights: str) -> bool:
    return (
        "/" in weights
        or "\\" in weights
        or weights.startswith(("~", "."))
        or Path(weights).suffix.lower() in _CHECKPOINT_SUFFIXES
    )
