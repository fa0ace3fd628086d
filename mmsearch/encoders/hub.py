"""Which models there are, and those that were pulled: list, pull, path, remove."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmsearch import config
from mmsearch.encoders import full_id
from mmsearch.encoders.model_folder import ModelFolder, ModelMeta, hub_folder, unwritable
from mmsearch.errors import MmsearchError, ModelMissingError, UnknownEncoderError, UsageError

if TYPE_CHECKING:
    from mmsearch.encoders.mini_source import MiniSource
    from mmsearch.encoders.open_clip_source import OpenClipSource
    from mmsearch.encoders.saved_source import SavedSource

__all__ = ["ModelInfo", "list_models", "path", "pull", "remove"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be used, as ``mmsearch models list`` shows it.

    Attributes:
        id: What ``--model`` takes.
        state: ``built-in`` ships with mmsearch, ``installed`` lies on this machine, ``available`` can be pulled.
        size_bytes: What it takes on this disk, or, for an available one, what has to be fetched; None if unknown.
        dim: Length of its embeddings, or None if unknown.
        note: A short phrase on what it is good for, or what is wrong with it.
    """

    id: str
    state: Literal["built-in", "installed", "available"]
    size_bytes: int | None
    dim: int | None
    note: str = ""


# Name, parameters of four bytes each, dimensions, and what it is good for. The figures are text-to-image recall@10 on
# the 5,000 pictures of COCO's test split, as open_clip's authors publish them in docs/openclip_retrieval_results.csv.
_RECOMMENDED = (
    ("open_clip/ViT-B-32-256/datacomp_s34b_b86k", 151_290_000, 512, "fast; COCO recall@10 75.2 %"),
    ("open_clip/ViT-B-16/metaclip_fullcc", 149_620_000, 512, "good; COCO recall@10 77.0 %"),
    ("open_clip/ViT-B-16-SigLIP-256/webli", 203_200_000, 768, "better; COCO recall@10 81.0 %; needs mmsearch[hf]"),
    ("open_clip/ViT-L-14/laion2b_s32b_b82k", 427_620_000, 768, "slow; COCO recall@10 79.8 %"),
    ("open_clip/ViT-SO400M-14-SigLIP-384/webli", 877_960_000, 1152, "best, wants a GPU; 84.2 %; needs mmsearch[hf]"),
    ("open_clip/xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", 366_120_000, 512, "100 languages; needs mmsearch[hf]"),
    ("clap/laion/clap-htsat-unfused", 153_490_000, 512, "sounds; needs mmsearch[audio]"),
    ("clap/laion/larger_clap_general", 193_910_000, 512, "sounds, music and speech; needs mmsearch[audio]"),
)


def list_models() -> tuple[ModelInfo, ...]:
    """Every built-in and installed model, and a few recommended ones; never touches the network, imports no torch."""
    from mmsearch.encoders.mini import MODELS, MiniEncoder

    built_in = ModelInfo("mini", "built-in", _size(MODELS), MiniEncoder().dim, "ready to use, English")
    installed = [_installed(meta) for meta in ModelFolder.described()]
    there = {model.id for model in installed}
    available = [
        ModelInfo(model_id, "available", parameters * 4, dim, note)
        for model_id, parameters, dim, note in _RECOMMENDED
        if model_id not in there
    ]
    return (built_in, *installed, *available)


def pull(
    model_id: str, *, offline: bool = False, notify: Callable[[str], None] | None = None, progress: bool = False
) -> Path:
    """Fetch a model unless it is there, check its weights and export its text tower; returns where its weights lie.

    Args:
        model_id: As for `load_encoder`, of which one of the user's own files or folders is checked and exported only,
            or that of a published reranker, which is fetched only.
        offline: Never touch the network, as do ``$MMSEARCH_OFFLINE`` and ``$HF_HUB_OFFLINE``.
        notify: Called with a short sentence at each step.
        progress: Draw a progress bar on stderr while weights are fetched.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: It is not here and could not be fetched.
        ExtraMissingError: The full installation, or an extra, is needed for it.
        EncoderError: It was fetched but does not load.
        StorageError: The disk is full or not writable.
    """
    model_id = full_id(model_id)
    if model_id == "mini":
        return path(model_id)
    from mmsearch.encoders import open_clip_weights, saved_weights
    from mmsearch.encoders.clap_source import ClapSource
    from mmsearch.encoders.mini import MiniEncoder
    from mmsearch.encoders.mini_source import MiniSource
    from mmsearch.encoders.open_clip_source import OpenClipSource
    from mmsearch.encoders.reranker_source import is_reranker
    from mmsearch.encoders.saved_source import SavedSource

    source = _parsed(model_id)
    if isinstance(source, MiniSource):
        MiniEncoder(source=source).load()
        return source.folder
    encoder: ClapEncoder | OpenClipEncoder | None = None
    if isinstance(source, ClapSource):
        from mmsearch.encoders.clap import ClapEncoder

        encoder = ClapEncoder(source, offline=offline, notify=notify)
    elif isinstance(source, OpenClipSource) and not is_reranker(source.id):
        from mmsearch.encoders.open_clip import OpenClipEncoder

        encoder = OpenClipEncoder(source, offline=offline, notify=notify)
    if isinstance(source, SavedSource):
        weights, _ = saved_weights.fetch_weights(source, offline=offline, notify=notify, progress=progress)
    else:
        weights, _ = open_clip_weights.fetch_weights(source, offline=offline, notify=notify, progress=progress)
    if encoder is None:
        return weights
    meta = encoder.describe()
    if not Path(meta.weights.path).exists():  # they were deleted, and came back elsewhere
        encoder.adopt(weights)
    return weights


def path(model_id: str) -> Path:
    """The folder or file where the model lies on this machine: its weights if they are here, else its text tower.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: Nothing of it is on this machine.
    """
    model_id = full_id(model_id)
    if model_id == "mini":
        from mmsearch.encoders.mini import MODELS

        return MODELS
    folder, weights = _places(model_id)
    meta = folder.read()
    if weights is None and meta is None:
        raise _not_here(model_id)
    return weights if weights is not None else folder.path


def remove(model_id: str) -> int:
    """Delete what mmsearch pulled and exported for a model, never the user's own files; returns the bytes set free.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: Nothing of it is on this machine.
        UsageError: It is built in, or lies in a place that is not mmsearch's own.
        StorageError: It cannot be deleted.
    """
    model_id = full_id(model_id)
    if model_id == "mini":
        raise UsageError("The model mini is part of mmsearch and cannot be removed.")
    folder, weights = _places(model_id)
    pulled = _pulled(folder.id, weights)
    if not folder.path.exists() and not pulled:
        if weights is None:
            raise _not_here(model_id)
        if weights.is_relative_to(hub_folder()):
            raise UsageError(f"The weights {weights} are those of another model too.", hint="Remove that one.")
        raise UsageError(f"The weights {weights} are not mmsearch's own.", hint="Delete them by hand if you want to.")
    freed = 0
    try:
        for place in (folder.path, *pulled):
            if place.is_dir() and not place.is_symlink():
                freed += _size(place)
                shutil.rmtree(place)
            elif place.is_symlink() or place.exists():
                freed += place.lstat().st_size
                place.unlink()
    except OSError as error:
        raise unwritable(folder.path, error) from error
    return freed


def _installed(meta: ModelMeta) -> ModelInfo:
    from mmsearch.encoders.mini_source import FAMILY, MiniSource

    weights = Path(meta.weights.path)
    size = ModelFolder(meta.id).size_bytes() + (meta.weights.size_bytes if weights.exists() else 0)
    notes = []
    if meta.id.partition("/")[0] == FAMILY:
        notes.append("it was trained again since" if meta.weights.changed() else MiniSource.parse(meta.id).note)
    if not weights.exists():
        notes.append("its weights are gone: text queries only" if meta.text else "its weights are gone")
    if meta.reason:
        notes.append(f"text queries are slow: {meta.reason}")
    return ModelInfo(meta.id, "installed", size, meta.dim, "; ".join(filter(None, notes)))


def _parsed(model_id: str) -> OpenClipSource | SavedSource | MiniSource:
    from mmsearch.encoders import clap_source, mini_source, open_clip_source, reranker_source

    families: dict[str, Callable[[str], OpenClipSource | SavedSource | MiniSource]] = {
        clap_source.FAMILY: clap_source.ClapSource.parse,
        mini_source.FAMILY: mini_source.MiniSource.parse,
        open_clip_source.FAMILY: open_clip_source.OpenClipSource.parse,
        reranker_source.COCA: reranker_source.coca_source,
        reranker_source.BLIP: reranker_source.BlipSource.parse,
    }
    family, slash, _ = model_id.partition("/")
    if family not in families or not slash:
        raise UnknownEncoderError(f"There is no model {model_id!r}.", hint="See what there is: mmsearch models list")
    return families[family](model_id)


def _places(model_id: str) -> tuple[ModelFolder, Path | None]:
    """The folder of a model, be it there or not, and its weights if they are on this machine."""
    from mmsearch.encoders.mini_source import MiniSource

    source = _parsed(model_id)
    folder = ModelFolder(source.id)
    meta = folder.read()
    if meta is not None and Path(meta.weights.path).exists():
        return folder, Path(meta.weights.path)
    if isinstance(source, MiniSource):
        return folder, source.folder if source.folder.exists() else None
    if source.local is not None:
        return folder, source.local if source.local.exists() else None
    from mmsearch.encoders import open_clip_weights, saved_weights
    from mmsearch.encoders.saved_source import SavedSource

    try:
        if isinstance(source, SavedSource):
            found = saved_weights.find_weights(source)
        else:
            found = open_clip_weights.find_weights(source)
    except MmsearchError:  # without the family's package nobody knows where its weights would be
        found = None
    return folder, found[0] if found else None


def _pulled(model_id: str, weights: Path | None) -> list[Path]:
    """What to delete of weights that lie in mmsearch's own hub cache; nothing of those that lie elsewhere."""
    hub = hub_folder()
    if weights is None or not weights.is_relative_to(hub):
        return []
    repository = hub / weights.relative_to(hub).parts[0]
    others = [Path(meta.weights.path) for meta in ModelFolder.described() if meta.id != model_id]
    if weights in others:  # an encoder and a reranker can be of one model
        return []
    if any(other.is_relative_to(repository) for other in others):
        return [weights.resolve(), weights]  # the file alone, for another model has its weights beside it
    locks = hub / ".locks" / repository.name
    return [repository, locks] if locks.exists() else [repository]


def _not_here(model_id: str) -> ModelMissingError:
    return ModelMissingError(
        f"The model {model_id} is not on this machine.",
        hint=f"Fetch it: mmsearch models pull {model_id} (into {config.cache_folder()})",
    )


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
