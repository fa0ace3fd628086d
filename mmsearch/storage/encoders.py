"""Which encoders a library holds vectors of, in which collections, and what is said when another is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmsearch.errors import EncoderMismatchError
from mmsearch.storage.session import Session
from mmsearch.types import CollectionRecord, EncoderRecord, Modality

__all__ = ["collections", "dim_of", "held", "mismatch", "mismatch_of_sets"]


def held(session: Session) -> tuple[EncoderRecord, ...]:
    """The encoders of a library, in the order in which they were registered."""
    return tuple(EncoderRecord(*row) for row in session.rows("SELECT name, dim FROM encoders ORDER BY id"))


def collections(session: Session) -> tuple[CollectionRecord, ...]:
    """The collections that hold vectors, oldest first."""
    found = session.rows(
        "SELECT encoder, modality, dim, vector_count FROM collections WHERE vector_count > 0 ORDER BY id"
    )
    return tuple(CollectionRecord(encoder, Modality(modality), dim, count) for encoder, modality, dim, count in found)


def dim_of(session: Session, encoder_id: str) -> int:
    """The length of an encoder's vectors.

    Raises:
        EncoderMismatchError: The library was not made with it.
    """
    found = session.rows("SELECT dim FROM encoders WHERE name = ?", (encoder_id,))
    if not found:
        raise mismatch(session.library, held(session), encoder_id)
    return int(found[0][0])


def mismatch_of_sets(
    library: Path, encoders: Sequence[EncoderRecord], asked: Sequence[EncoderRecord]
) -> EncoderMismatchError:
    """The error for a set of encoders that is not the one that the library was made with."""
    dims = {encoder.id: encoder.dim for encoder in encoders}
    for encoder in asked:
        if dims.get(encoder.id, encoder.dim) != encoder.dim:
            return mismatch(library, encoders, encoder.id, encoder.dim)
    return mismatch(library, encoders, _listed([encoder.id for encoder in asked]))


def mismatch(
    library: Path, encoders: Sequence[EncoderRecord], asked: str, dim: int | None = None
) -> EncoderMismatchError:
    """The error for an encoder that the library does not hold vectors of."""
    for encoder in encoders:
        if encoder.id == asked and dim is not None:
            return EncoderMismatchError(
                f"The library in {library} holds vectors of {asked} with {encoder.dim} numbers, but {asked} now gives"
                f" {dim}.",
                hint="Use the model it was made with, or another folder with --library.",
            )
    if not encoders:
        return EncoderMismatchError(
            f"The library in {library} holds no vectors of {asked}: nothing has been indexed yet.",
            hint=f"Run: mmsearch index FOLDER --model {asked}",
        )
    use = f"Use --model {encoders[0].id}" if len(encoders) == 1 else "Leave --model out to use them"
    return EncoderMismatchError(
        f"The library in {library} was made with {_listed([encoder.id for encoder in encoders])}, not with {asked}.",
        hint=f"{use}, or another folder with --library.",
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
