"""The hits of many queries as arrays, without an object for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ManyHits"]


@dataclass(frozen=True, eq=False)
class ManyHits:
    """The k best items of each of m queries, best first.

    >>> import numpy as np
    >>> hits = ManyHits(np.array([[7, -1]]), np.array([[9, -1]]), np.array([[0.5, -np.inf]], np.float32))
    >>> hits.found.tolist()
    [[True, False]]

    Attributes:
        items: (m, k) int64 item ids; -1 where a query has fewer.
        segments: (m, k) int64 ids of the segment of each that matches best, -1 where there is none.
        scores: (m, k) float32 inner products, -inf where there is none.
        resolve: From item ids to their keys.
    """

    items: NDArray[np.int64]
    segments: NDArray[np.int64]
    scores: NDArray[np.float32]
    resolve: Callable[[Sequence[int]], dict[int, str]] | None = field(default=None, repr=False)

    @property
    def found(self) -> NDArray[np.bool_]:
        """(m, k): where there is a hit."""
        return np.asarray(self.items >= 0)

    @cached_property
    def keys(self) -> NDArray[np.object_]:
        """(m, k) keys of items, or absolute paths of files, as str; None where there is none; looked up when asked for.

        An item that was removed since has None too.
        """
        distinct, places = np.unique(self.items, return_inverse=True)
        names = {} if self.resolve is None else self.resolve(distinct[distinct >= 0].tolist())
        table = np.empty(len(distinct), dtype=object)
        table[:] = [names.get(int(id_)) for id_ in distinct]
        return table[places].reshape(self.items.shape)

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.items)

    def __getstate__(self) -> dict[str, Any]:
        """Pickled with its keys, which a library that is open here would give."""
        _ = self.keys
        return {**self.__dict__, "resolve": None}
