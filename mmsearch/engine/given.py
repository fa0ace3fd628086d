"""What users give in several forms: filters as values or text, keys as names or paths."""

from __future__ import annotations

import os

from mmsearch.filters import Filters
from mmsearch.query.language import parse_filters

__all__ = ["filters_from", "key_of"]


def filters_from(filters: Filters | str | None) -> Filters:
    """Filters as they are, as a query writes them, or none."""
    if filters is None:
        return Filters()
    return parse_filters(filters) if isinstance(filters, str) else filters


def key_of(key: str | os.PathLike[str]) -> str:
    """A key, or the absolute path of a file."""
    return key if isinstance(key, str) else os.path.abspath(key)
