"""The text tower of CLAP on ONNX Runtime: what it must have in common with the one in torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import StorageError
from tests.encoders import tiny_clap
from tests.encoders.contract import TEXTS

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_clap")]

PAD = 1


def made(**text: Any) -> Any:
    """A tiny model with every weight at random, those that begin as ones and zeros too."""
    import torch
    from transformers import ClapConfig, ClapModel

    small = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = ClapConfig(
        text_config={**small, "intermediate_size": 48, "max_position_embeddings": 20, **text},
        audio_config={"depths": [1], "num_attention_heads": [2], "patch_embeds_hidden_size": 8, "hidden_size": 8},
        projection_dim=16,
        projection_hidden_act=text.pop("projection_hidden_act", "relu"),
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = ClapModel(config).eval()
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="as published"),
        pytest.param({"hidden_act": "gelu_new", "projection_hidden_act": "gelu"}, id="other activations"),
        pytest.param({"type_vocab_size": 2, "layer_norm_eps": 1e-3}, id="two types of tokens and another epsilon"),
        pytest.param({"hidden_size": 160, "vocab_size": 500}, id="weights beside the graph"),
    ],
)
def test_a_tower_gives_the_embeddings_of_torch_for_texts_of_any_length(options: dict[str, Any], tmp_path: Path) -> None:
    import onnx
    import onnxruntime
    import torch

    from mmsearch.encoders.clap_text import write_clap_text_graph

    model = made(**options)
    file = tmp_path / "text.onnx"
    write_clap_text_graph(model, file)
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for length in (18, 5, 2):
        tokens = rng.integers(2, 50, (3, length))
        for row, end in enumerate((length, max(2, length // 2), length)):
            tokens[row, end:] = PAD
        fed = torch.from_numpy(tokens)
        with torch.inference_mode():
            pooled = model.text_model(input_ids=fed, attention_mask=(fed != PAD).long()).pooler_output
            expected = torch.nn.functional.normalize(model.text_projection(pooled), dim=-1).numpy()
        np.testing.assert_allclose(session.run(None, {"tokens": tokens})[0], expected, atol=5e-6)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    from mmsearch.encoders.clap_text import write_clap_text_graph

    with pytest.raises(StorageError, match="cannot be written"):
        write_clap_text_graph(made(), tmp_path / "nowhere" / "text.onnx")


def test_a_tower_that_cannot_be_written_down_stays_in_torch_and_says_why(tmp_path: Path) -> None:
    from mmsearch.encoders import hub

    folder = tiny_clap.save_repository(tmp_path / "model", hidden_act="silu")
    encoder = tiny_clap.encoder(folder)
    meta = encoder.describe()
    assert meta.text is None
    assert "the activation silu" in str(meta.reason)
    rows = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(tiny_clap.encoder(folder).encode_texts(TEXTS), rows, atol=1e-6)
    assert encoder.text_pieces == 70
    (listed,) = [model for model in hub.list_models() if model.state == "installed"]
    assert "text queries are slow" in listed.note


def test_a_tokenizer_that_reads_less_makes_passages_shorter(tmp_path: Path, clap_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clap_folder, folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 77}))
    encoder = tiny_clap.encoder(folder)
    assert encoder.text_pieces == 70
    long = "rain on a tin roof, and thunder " * 40
    tokenizer_sees = encoder._text_tower()._tokens([long])
    assert [len(row) for row in tokenizer_sees] == [77]
    np.testing.assert_array_equal(encoder.encode_texts([long]), encoder.encode_texts([long + "dog"]))
