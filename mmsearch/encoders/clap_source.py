"""The id of a CLAP model in, where its files come from out."""

from __future__ import annotations

from pathlib import Path

from mmsearch.encoders.saved_source import SavedKind, SavedSource, is_saved

__all__ = ["FAMILY", "ClapSource", "is_clap"]

FAMILY = "clap"
_KIND = SavedKind(
    FAMILY,
    "CLAP",
    ("ClapModel", "ClapProcessor"),
    "audio",
    (frozenset({"tokenizer.json"}), frozenset({"vocab.json", "merges.txt"})),
)


class ClapSource(SavedSource):
    """Which CLAP model is meant."""

    __slots__ = ()
    kind = _KIND


def is_clap(folder: Path) -> bool:
    """Whether a folder holds the configuration of a CLAP model."""
    return is_saved(folder, _KIND)
