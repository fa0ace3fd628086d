"""Which encoders a library holds vectors of, and what is said when another is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmsearch.errors import EncoderMismatchError
from mmsearch.storage.session import Session
from mmsearch.types import EncoderRecord

__all__ = ["held", "key_and_dim", "mismatch"]


def held(session: Session) -> tuple[EncoderRecord, ...]:
    """The encoders of a library, oldest first."""
    return tuple(EncoderRecord(*row) for row in session.rows("SELECT name, dim FROM encoders ORDER BY id"))


def key_and_dim(session: Session, encoder_id: str) -> tuple[int, int]:
    """The key of an encoder in the catalog and the length of its vectors.

    Raises:
        EncoderMismatchError: The library holds no vectors of it.
    """
    found = session.rows("SELECT id, dim FROM encoders WHERE name = ?", (encoder_id,))
    if not found:
        raise mismatch(session.library, held(session), encoder_id)
    key, dim = found[0]
    return int(key), int(dim)


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
    held = " and ".join(encoder.id for encoder in encoders)
    return EncoderMismatchError(
        f"The library in {library} was made with {held}, not with {asked}.",
        hint=f"Use --model {encoders[0].id}, or another folder with --library.",
    )
