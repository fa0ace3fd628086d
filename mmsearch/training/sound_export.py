"""A trained audio tower goes in, a model's folder that mmsearch can hear with comes out, checked against it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.mini import MiniEncoder
from mmsearch.encoders.mini_sound import BANDS, FRAMES
from mmsearch.encoders.model_folder import MINI_FILES, PASSAGE_GRAPH, SOUND_FILE, TEXT_GRAPH
from mmsearch.errors import EncoderError
from mmsearch.training.export import OPSET, quiet_exporters
from mmsearch.training.place import Place
from mmsearch.training.sound_network import SoundLearner, SoundNetwork

__all__ = ["PARITY", "save_sounds", "sound_graph"]

PARITY = 0.999
"""The least cosine between what was trained and what is written."""


def sound_graph(network: SoundNetwork) -> bytes:
    """An ONNX graph of the network, normalisations folded into its convolutions: (n, BANDS, FRAMES) -> (n, dim)."""
    plain = network.eval().to(memory_format=torch.contiguous_format)
    with quiet_exporters(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "graph.onnx")
        torch.onnx.export(
            plain,
            (torch.zeros(1, BANDS, FRAMES),),
            str(file),
            input_names=["sounds"],
            output_names=["embeddings"],
            dynamic_axes={"sounds": {0: "n"}, "embeddings": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )
        return file.read_bytes()


def save_sounds(
    model: SoundLearner, base: Path, place: Place, heard: NDArray[np.float32], settings: dict[str, Any]
) -> tuple[str, float]:
    """Write the model that the tower belongs to, with the tower.

    Args:
        model: The trained tower.
        base: The folder of the model whose texts and pictures it learned to meet.
        place: Where.
        heard: (n, BANDS, FRAMES) spectrograms to compare with.
        settings: What the folder's ``model.json`` tells.

    Returns:
        The id to use the model by, and the least cosine between trained and written embeddings.

    Raises:
        EncoderError: The written tower gives other embeddings than the trained one.
    """
    from mmsearch.encoders import load_encoder

    expected = model.embed(torch.from_numpy(heard)).numpy()
    part = place.out / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in (*MINI_FILES, TEXT_GRAPH, PASSAGE_GRAPH):
        if name in MINI_FILES or (base / name).is_file():
            shutil.copyfile(base / name, part / name)
    (part / SOUND_FILE).write_bytes(sound_graph(model.sounds))
    (part / "model.json").write_text(
        json.dumps({"name": place.out.resolve().name, **settings}) + "\n", encoding="utf-8"
    )
    written = MiniEncoder(models=part).encode_sounds(list(heard))
    parity = round(float((expected * written).sum(1).min()), 5)
    if not parity >= PARITY:
        raise EncoderError(f"The written audio tower gives other embeddings than the trained one: {parity:.4f}.")
    shutil.rmtree(place.model, ignore_errors=True)
    part.replace(place.model)
    return load_encoder(str(place.model.resolve())).id, parity
