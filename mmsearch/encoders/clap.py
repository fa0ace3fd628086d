"""Sounds and texts in, embeddings of a CLAP model out: in batches, in the machine's best precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.absent import NoImages
from mmsearch.encoders.clap_sounds import SoundTransform
from mmsearch.encoders.clap_source import ClapSource
from mmsearch.encoders.model_folder import TextMeta
from mmsearch.encoders.precision import Precision
from mmsearch.encoders.prepared import PreparedEncoder
from mmsearch.types import Modality, SoundFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.clap_loading import LoadedClap
    from mmsearch.encoders.clap_towers import AudioTower

__all__ = ["ClapEncoder"]

_PIECES = 112  # CLAP learnt from captions: one embedding holds no more of a longer text, even where the tower reads it
_UNKNOWN_LENGTH = 77


class ClapEncoder(PreparedEncoder["LoadedClap"], NoImages):
    """The encoder of one CLAP model; made by `mmsearch.encoders.load_encoder`.

    The audio tower runs in torch. The text tower is exported when the model is first loaded and runs on ONNX Runtime
    from then on, so that a text query imports neither torch nor transformers. Sounds are prepared by NumPy.

    Args:
        source: Which model.
        device: Where the audio tower runs; the best place here when None.
        precision: Of the audio tower; fp16 on CUDA devices and fp32 elsewhere when None.
        offline: Never fetch weights.
        notify: Called with a sentence before something that takes long.

    Raises:
        UnknownEncoderError: The id names a folder that is not there, nor ever was.
    """

    modalities = frozenset({Modality.TEXT, Modality.AUDIO})

    def __init__(
        self,
        source: ClapSource,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        offline: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(source, device=device, precision=precision, offline=offline, notify=notify)
        self._source = source
        self._transform: SoundTransform | None = None
        self._sounds: AudioTower | None = None

    @property
    def sound(self) -> SoundFormat:
        """How its audio tower wants sounds cut: the windows it was trained on, overlapping by half."""
        return self._sound_transform().format

    @property
    def text_pieces(self) -> int:
        """Word pieces of a passage at most, with some room for a tokenizer that counts otherwise."""
        text = self.describe().text
        length = text.context_length if text else _UNKNOWN_LENGTH
        return min(_PIECES, length * 10 // 11)

    @property
    def batch_size(self) -> int:
        """How many sounds it likes to get at once; fewer after memory ran out."""
        return self._audio_tower().batch_size

    def prepare_sound(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """(n,) samples -> (frames, mels) float32; safe to call from many threads."""
        return self._sound_transform()(samples)

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n prepared sounds, in smaller batches where memory is short: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed, also with a single sound.
            ModelMissingError: Its weights are not on this machine and could not be fetched.
        """
        if not sounds:
            return np.empty((0, self.dim), np.float32)
        return self._audio_tower().encode(sounds)

    def _sound_transform(self) -> SoundTransform:
        if self._transform is None:
            self._transform = SoundTransform.from_config(self.describe().transform)
        return self._transform

    def _audio_tower(self) -> AudioTower:
        with self._lock:
            if self._sounds is None:
                self._sounds = self._made_of_model(self._tower_of)
            return self._sounds

    def _tower_of(self, loaded: LoadedClap) -> AudioTower:
        from mmsearch.encoders.clap_towers import AudioTower  # torch: what is missing was said by now

        return AudioTower(loaded, self._device, self._precision)

    def _load(self) -> LoadedClap:
        from mmsearch.encoders.clap_loading import load_clap

        return load_clap(self._source, offline=self._offline, notify=self._notify)

    def _transform_of(self, loaded: LoadedClap) -> Mapping[str, Any]:
        return loaded.transform.to_config()

    def _embed(self, loaded: LoadedClap, texts: list[str]) -> NDArray[np.float32]:
        from mmsearch.encoders.clap_text import reference_embeddings

        return reference_embeddings(loaded.model, loaded.tokenizer, texts)

    def _export_texts(self, loaded: LoadedClap, folder: Path) -> TextMeta:
        from mmsearch.encoders.clap_text import export_clap_text

        return export_clap_text(loaded.model, loaded.tokenizer, folder)

    def _drop_other_tower(self, loaded: LoadedClap) -> None:
        model: Any = loaded.model
        del model.audio_model
