"""The sentences that the name of a class is put into: those chosen for photos or for sounds, or the lines of a file."""

from __future__ import annotations

from pathlib import Path

from mmsearch.errors import UsageError
from mmsearch.training.sound_phrases import SOUND_PROMPTS

__all__ = ["PROMPTS", "SOUND_PROMPTS", "read_prompts"]

# A caption names what is seen at several distances, sizes and in several words; what all these sentences share is the
# class. None is about drawings, toys or sculptures: those pull towards pictures that are no photos.
PROMPTS = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "there is a {} in the picture.",
    "a {}.",
)


def read_prompts(file: Path) -> tuple[str, ...]:
    """Read sentences from a text file, one a line; empty lines and those that begin with # are passed over.

    Raises:
        UsageError: The file cannot be read, has no sentence, or a sentence has not exactly one ``{}``.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not a text file in UTF-8.") from error
    hint = "Each line is a sentence with {} in the place of the class: a photo of a {}."
    prompts = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if line.count("{}") != 1:
            raise UsageError(f"Line {number} of {file} must have {{}} once.", hint=hint)
        prompts.append(line)
    if not prompts:
        raise UsageError(f"There are no sentences in {file}.", hint=hint)
    return tuple(prompts)
