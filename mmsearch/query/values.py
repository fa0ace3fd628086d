"""What a query is: terms with weights, and filters, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError
from mmsearch.filters import Filters

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Query", "Term"]

_ANYTHING = Filters()


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to look for, or to avoid.

    Attributes:
        content: Words, the path of a file, the bytes of a picture, or a picture in memory.
        weight: How much it counts; negative pushes away. Never 0.
    """

    content: str | Path | bytes | Image.Image
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: at least one term with a positive weight, or filters alone.

    Attributes:
        terms: What is looked for by meaning.
        filters: What every hit has to pass. With filters and no terms, all that passes is found, newest first.
    """

    terms: tuple[Term, ...] = ()
    filters: Filters = _ANYTHING

    def __post_init__(self) -> None:
        if not any(term.weight > 0 for term in self.terms) and (self.terms or not self.filters):
            raise QueryError(
                "A query needs something to look for, not only something to avoid.",
                hint='For example: mmsearch query "a dog" - leash',
            )

    def __str__(self) -> str:
        """The query as `mmsearch.query.language.parse` reads it; contents in memory are written ``<in memory>``."""
        from mmsearch.query.spelling import spell

        return spell(self)
