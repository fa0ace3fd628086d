"""Items and their vectors in the shapes that other tools take: NumPy, Arrow, Parquet, LightFM, implicit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import ExtraMissingError
from mmsearch.recommendation.histories import Event, Histories

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["ItemFeatures"]


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """n items: their keys and vectors, row by row.

    >>> import numpy as np
    >>> features = ItemFeatures(("a", "b"), np.eye(2, dtype=np.float32))
    >>> features.row["b"], features.vectors.shape
    (1, (2, 2))

    Attributes:
        keys: n keys, or absolute paths of files.
        vectors: (n, dim) float32, L2-normalised.
    """

    keys: tuple[str, ...]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.keys)

    @cached_property
    def row(self) -> dict[str, int]:
        """Keys -> rows."""
        return {key: row for row, key in enumerate(self.keys)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``keys`` and ``vectors`` into an ``.npz`` file of NumPy, which needs no pickle to be read."""
        from mmsearch.files import written

        with written(_path(path)) as stream:
            np.savez(stream, keys=np.array(self.keys, dtype=np.str_), vectors=self.vectors)

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` with the columns ``key`` (string) and ``vector`` (fixed-size list of float32).

        Raises:
            ExtraMissingError: There is no pyarrow.
        """
        arrow = _package("pyarrow")
        flat = arrow.array(np.ascontiguousarray(self.vectors).ravel())
        vectors = arrow.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1])
        return arrow.table({"key": arrow.array(self.keys, arrow.string()), "vector": vectors})

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_arrow` into a Parquet file.

        Raises:
            ExtraMissingError: There is no pyarrow.
        """
        table, parquet = self.to_arrow(), _package("pyarrow.parquet")
        from mmsearch.files import written

        with written(_path(path)) as stream:
            parquet.write_table(table, stream)

    def to_lightfm(self, *, identity: bool = False) -> Any:
        """Item features as LightFM takes them: a ``scipy.sparse.csr_matrix`` (n, dim), or (n, dim + n).

        Args:
            identity: Give each item a feature of its own as well, as LightFM does without item features.

        Raises:
            ExtraMissingError: There is no SciPy.
        """
        sparse = _package("scipy.sparse")
        features = sparse.csr_matrix(self.vectors)
        if not identity:
            return features
        return sparse.hstack([features, sparse.identity(len(self), np.float32)], format="csr")

    def interactions(self, histories: Histories | Sequence[Iterable[Event | str]]) -> Any:
        """Users by items as implicit and LightFM take them: a ``scipy.sparse.csr_matrix`` (m, n) of added-up weights.

        Dislikes (weights below 0) and unknown items are left out; times are not looked at.

        Raises:
            ExtraMissingError: There is no SciPy.
        """
        sparse = _package("scipy.sparse")
        if not isinstance(histories, Histories):
            histories = Histories.of(histories)
        columns = np.fromiter((self.row.get(key, -1) for key in histories.keys), np.int64, len(histories.keys))
        kept = (columns >= 0) & (histories.weights > 0)
        values = histories.weights[kept].astype(np.float32)
        shape = (len(histories), len(self))
        found = sparse.coo_matrix((values, (histories.user[kept], columns[kept])), shape).tocsr()
        found.sum_duplicates()
        return found


def _path(path: str | os.PathLike[str]) -> Any:
    from pathlib import Path

    return Path(os.path.abspath(path))


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ExtraMissingError(f"An export by {name.partition('.')[0]}", "recommend") from error
