"""An open library as arrays: many queries at once, vectors and embeddings, for pipelines and recommenders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mmsearch.engine.given import filters_from, key_of
from mmsearch.engine.opened import OpenLibrary
from mmsearch.errors import UsageError
from mmsearch.filters import Filters
from mmsearch.types import (
    Hit,
    Modality,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.retrieval.batch import BatchRetriever
    from mmsearch.retrieval.many_hits import ManyHits

__all__ = ["Arrays"]


class Arrays(OpenLibrary):
    """Finds and gives vectors, many at a time."""

    def similar(
        self,
        key: str | os.PathLike[str],
        k: int = 10,
        *,
        filters: Filters | str | None = None,
        model: str | None = None,
    ) -> list[Hit]:
        """Find the items that are most like one of the library, without itself.

        Args:
            key: Of an item, or the path of a file that was indexed.
            k: How many hits, at least 1.
            filters: What every hit has to pass, as in `search`.
            model: The encoder to compare with, in a library of several; the first when None.

        Raises:
            UsageError: The library has no such item, or k is below 1.
        """
        _check_k(k)
        limited = Filters() if filters is None else filters_from(filters)
        return self.arrays(model).similar(key_of(key), k, limited)

    def search_many(
        self,
        queries: Sequence[str] | Sequence[Image.Image] | NDArray[np.floating],
        k: int = 10,
        *,
        modality: Modality | str | None = None,
        filters: Filters | str | None = None,
        model: str | None = None,
    ) -> ManyHits:
        """Find the items nearest to each of many queries, as arrays: thousands of queries a second.

        What each query finds is what it would find alone. Items are ranked by the cosine of their best segment; nothing
        is calibrated, read again or cut off as `search` does.

        Args:
            queries: m texts, m Pillow images, or vectors (m, dim) of any real type and length.
            k: How many items for each.
            modality: Search segments of this kind alone. Scores of different kinds do not compare well: in a library
                that holds several, name one.
            filters: What every hit has to pass, as in `search`.
            model: The encoder to search with, in a library of several; the first when None.

        Raises:
            UsageError: k is below 1, or there is no such model or modality.
            QueryError: The queries are of another shape, not finite, or nothing that the model takes.
        """
        _check_k(k)
        limited = Filters() if filters is None else filters_from(filters)
        kind = None if modality is None else next(iter(Filters.of(modalities=[modality]).modalities or ()))
        return self.arrays(model).search(queries, k, modality=kind, filters=limited)

    def vectors(
        self,
        keys: Sequence[str | os.PathLike[str]],
        *,
        missing: Literal["raise", "nan"] = "raise",
        model: str | None = None,
    ) -> NDArray[np.float32]:
        """The vectors of items as one array.

        Args:
            keys: Of n items, or paths of files that were indexed.
            missing: What becomes of a key that the library does not have.
            model: The encoder, in a library of several; the first when None.

        Returns:
            (n, dim) float32, rows L2-normalised: of an item with several segments the direction of their mean.

        Raises:
            UsageError: An item is not there, or there is no such model.
        """
        return self.arrays(model).vectors(
            keys if isinstance(keys, str) else [key_of(key) for key in keys], missing=missing
        )

    def embed(
        self,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        sounds: Sequence[Any] | None = None,
        model: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts, images or sounds as queries, without storing anything.

        Args:
            texts: n texts; what is longer than the model reads is cut.
            images: n images, each as `ItemData.image` may be.
            sounds: n sounds, each as `ItemData.audio` may be; eight windows of each at most.
            model: The encoder, in a library of several; the first when None.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            UsageError: Not just one of the three was given, or there is no such model.
            QueryError: One cannot be read, or the model does not take any.
        """
        return self.arrays(model).embed(texts=texts, images=images, sounds=sounds)

    def arrays(self, model: str | None = None) -> BatchRetriever:
        """What works on arrays of one model of the library; the methods above and `mmsearch.recommend` build on it.

        Raises:
            UsageError: The library was made without that model.
        """
        from mmsearch.retrieval.batch import BatchRetriever

        found = [encoder for encoder in self.encoders if model in (None, encoder.id)]
        if not found:
            names = " and ".join(encoder.id for encoder in self.encoders)
            raise UsageError(f"The library was made with {names}, not with {model}.")
        return BatchRetriever(self.catalog, found[0], self._stores, self._facts)


def _check_k(k: int) -> None:
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}.")
