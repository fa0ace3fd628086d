"""What a training run must not lose goes into files that survive a kill at any moment, and comes back out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmsearch.errors import UsageError
from mmsearch.files import written

__all__ = ["Checkpoints"]

_FORMAT = 1
_HINT = "Make room and run the same command again: it goes on from the checkpoint before."


class Checkpoints:
    """The last state of a run, in one file that is replaced at a stroke.

    The state before it stays until the new one is whole on the disk, so a kill or a full disk loses what came after
    the last checkpoint and nothing else.

    Args:
        file: Where the state lies.
        fingerprint: Names the data and the settings; a state of other ones is not taken up.
    """

    def __init__(self, file: Path, fingerprint: str) -> None:
        self.file = file
        self.fingerprint = fingerprint

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of tensors, numbers, strings, lists and dicts.

        Raises:
            StorageError: The disk is full or not writable; the earlier state is still there.
        """
        with written(self.file, hint=_HINT) as stream:
            try:
                torch.save({"format": _FORMAT, "fingerprint": self.fingerprint, "state": state}, stream)
            except RuntimeError as error:  # so torch reports a full disk
                raise OSError(str(error).splitlines()[0]) from error

    def load(self) -> dict[str, Any] | None:
        """The last state; None where there is none.

        Raises:
            UsageError: It belongs to a run on other data or with other settings, or it cannot be read.
        """
        if not self.file.exists():
            return None
        hint = "Begin anew with --fresh, or choose another folder with --out; to go on, repeat the command of that run."
        try:
            kept = torch.load(self.file, map_location="cpu", weights_only=True)
            known, fingerprint, state = kept["format"], kept["fingerprint"], kept["state"]
        except Exception as error:  # a damaged file can fail in any way
            raise UsageError(f"The checkpoint {self.file} cannot be read.", hint=hint) from error
        if known != _FORMAT:
            raise UsageError(f"The checkpoint {self.file} was made by another version of mmsearch.", hint=hint)
        if fingerprint != self.fingerprint:
            raise UsageError(f"{self.file} belongs to a run on other data or with other settings.", hint=hint)
        return dict(state)
