"""The seams of mmsearch: what an encoder, a vector index and a source of vectors must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmsearch.types import Modality, PatchFormat, RerankCandidate, RerankTerm, SoundFormat, TokenFormat, Watermark

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["Encoder", "Reranker", "VectorIndex", "VectorSource"]


@runtime_checkable
class Encoder(Protocol):
    """A dual encoder: towers that map images, texts and sounds, or some of them, into one space.

    Making one loads nothing heavy; each tower loads when it is first used, so that a text query never pays for the
    image tower. Vectors of different encoders are never compared.
    """

    @property
    def id(self) -> str:
        """The name under which a library remembers it, such as ``mini``."""

    @property
    def dim(self) -> int:
        """Length of its embeddings."""

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can encode, of images, texts and sounds; a method for anything else raises `EncoderError`.

        Frames of a video are images to it.
        """

    @property
    def sound(self) -> SoundFormat | None:
        """How its audio tower wants sounds cut; None where it has none."""

    @property
    def text_pieces(self) -> int:
        """Word pieces that its text tower reads of a passage; longer texts are split before they come to it."""

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that its image tower reads; decoding need not keep much more."""

    @property
    def batch_size(self) -> int:
        """How many images it likes to get at once on this machine."""

    def prepare_image(self, image: Image.Image) -> NDArray[Any]:
        """Resize and lay out one RGB image for the image tower; safe to call from many threads.

        Returns:
            An array whose shape and type are the encoder's own affair, the same for every image.
        """

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed prepared images.

        Args:
            images: n arrays from `prepare_image`.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed, also with a batch of one image.
        """

    @property
    def patches(self) -> PatchFormat | None:
        """What its image tower yields beside an embedding; None where it yields nothing."""

    def encode_images_with_patches(
        self, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed prepared images, in the same pass of the tower that `encode_images` makes.

        Returns:
            (n, dim) embeddings as those of `encode_images`, and (n, rows * columns, width) patches, row by row.

        Raises:
            EncoderError: The tower failed, or yields no patches.
        """

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised.
        """

    def encode_passages(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts that are to be found, into the space of `encode_texts`; those beyond the token limit are cut.

        An encoder may give up a little exactness here for speed: a library may get a hundred thousand passages, a
        query is one text. The embedding of a passage does not depend on the others.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
        """

    def prepare_sound(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Lay out one window of sound for the audio tower; safe to call from many threads.

        Args:
            samples: (n,) float32 mono at the rate of `sound`, full scale at -1 and 1; n is the window's length or less.

        Returns:
            An array whose shape and type are the encoder's own affair, the same for every window.
        """

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed prepared sounds.

        Args:
            sounds: n arrays from `prepare_sound`.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
        """


@runtime_checkable
class Reranker(Protocol):
    """Reads a query together with each candidate of a shortlist, and says how likely they match."""

    @property
    def id(self) -> str:
        """Its name, another for other weights; a library remembers which one its tokens are for."""

    @property
    def tokens(self) -> TokenFormat | None:
        """What is kept of each picture when it is indexed; None where it reads the files themselves."""

    def compress(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """Make tokens of what the image tower yields: (n, places, width) -> (n, count, dim).

        Raises:
            EncoderError: The patches are not those that it learned from, or it keeps no tokens.
        """

    def log_odds(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64] | None:
        """Say how likely candidates match a term.

        Args:
            term: Of the query.
            candidates: n of them, of one modality.

        Returns:
            (n,) natural log-odds, nan for a candidate that it cannot read, such as one without tokens; None where it
            does not read such a pair at all.

        Raises:
            EncoderError: It failed.
        """


@runtime_checkable
class VectorIndex(Protocol):
    """A set of vectors with int64 ids, searched by inner product."""

    @property
    def kind(self) -> str:
        """What it is, such as ``flat``, ``hnsw`` or ``ivf1024,sq8``."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    def __len__(self) -> int:
        """Number of vectors."""

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, (n,) and (n, dim); a vector whose id is there already takes its place."""

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove the vectors with these ids, as far as they are there; returns how many were."""

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query.

        Args:
            queries: (m, dim) float32.
            k: At least 1.
            allowed: Ids to search among, sorted; None means all.

        Returns:
            Ids (m, k) int64 and inner products (m, k) float32, best first. Where fewer than k exist, the rest is
            filled with id -1 and score -inf.
        """


class VectorSource(Protocol):
    """Where a vector index gets its content from: the catalog, which is the truth."""

    @property
    def encoder_id(self) -> str:
        """The name of the collection, as `mmsearch.types.Collection` forms it."""

    @property
    def dim(self) -> int:
        """Their length."""

    def watermark(self) -> Watermark:
        """How far the catalog has got."""

    def read(
        self, after_segment_id: int = 0, batch_size: int = 65536
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield segment ids (n,) and vectors (n, dim) in ascending order of ids."""

    def removed_since(self, removal_id: int) -> NDArray[np.int64]:
        """Segment ids that were removed after that entry of the log."""

    def fetch(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Look up the vectors (n, dim) of those of the sorted `ids` that exist, in ascending order of ids.

        Called with a few dozen ids to score a shortlist exactly, and with thousands for a narrow filter.
        """
