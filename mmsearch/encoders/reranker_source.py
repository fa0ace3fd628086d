"""The id of a published reranker in, where its files come from out."""

from __future__ import annotations

from dataclasses import replace

from mmsearch.encoders.open_clip_source import FAMILY as OPEN_CLIP
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.encoders.saved_source import SavedKind, SavedSource
from mmsearch.errors import UnknownEncoderError

__all__ = ["BLIP", "COCA", "BlipSource", "coca_source", "is_reranker"]

COCA, BLIP = "coca", "blip"


class BlipSource(SavedSource):
    """Which BLIP model is meant."""

    __slots__ = ()
    kind = SavedKind(
        BLIP,
        "BLIP",
        ("BlipForImageTextRetrieval", "BlipProcessor"),
        "hf",
        (frozenset({"tokenizer.json"}), frozenset({"vocab.txt"})),
    )


def coca_source(name: str) -> OpenClipSource:
    """Read the id of a CoCa model: ``coca/`` instead of ``open_clip/``, and what follows that there.

    Raises:
        UnknownEncoderError: It does not follow the grammar, or names no model or tag that exists.
    """
    try:
        source = OpenClipSource.parse(f"{OPEN_CLIP}/{name.removeprefix(f'{COCA}/')}")
    except UnknownEncoderError as error:
        hint = None if error.hint is None else error.hint.replace(f"{OPEN_CLIP}/", f"{COCA}/")
        raise UnknownEncoderError(error.message.replace(f"{OPEN_CLIP}/", f"{COCA}/"), hint=hint) from error
    return replace(source, id=f"{COCA}/{source.id.removeprefix(f'{OPEN_CLIP}/')}")


def is_reranker(name: str) -> bool:
    """Whether an id is one of a reranker, by the family that it begins with."""
    return name.partition("/")[0] in (COCA, BLIP)
