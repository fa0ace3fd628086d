"""Text towers that are written down as ONNX node by node: they give what torch gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import StorageError
from tests.encoders import tiny as tiny_models

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_open_clip")]

CONTEXT = 12


def made(quick_gelu: bool = False, custom: bool = True, **text: Any) -> Any:
    """A tiny model with every weight at random, those that begin as ones and zeros too."""
    import open_clip
    import torch

    config = tiny_models.architecture(**{"context_length": CONTEXT, "vocab_size": 50, **text})
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = kind(**config, quick_gelu=quick_gelu).eval()
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def by_graph(model: Any, folder: Path, tokens: np.ndarray[Any, Any], *, trimmed: bool) -> np.ndarray[Any, Any]:
    import onnx
    import onnxruntime

    from mmsearch.encoders.text_graph import write_text_graph

    file = folder / "text.onnx"
    write_text_graph(model, file, context_length=CONTEXT, trimmed=trimmed)
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"tokens": tokens})[0])


def some_tokens(length: int) -> np.ndarray[Any, Any]:
    """Four texts, the end token 49 in each, and padding behind it."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 49, (4, length))
    for row, end in enumerate([length - 1, 1, 3, length // 2]):
        tokens[row, end], tokens[row, end + 1 :] = 49, 0
    return tokens


@pytest.mark.parametrize(
    ("options", "trimmed"),
    [
        pytest.param({"custom": False}, True, id="CLIP"),
        pytest.param({"custom": False, "quick_gelu": True}, True, id="CLIP with its first activation"),
        pytest.param({}, True, id="a tower of its own"),
        pytest.param({"pool_type": "eos", "eos_id": 49, "proj_bias": True}, True, id="pooled at the end token"),
        pytest.param(
            {"no_causal_mask": True, "pool_type": "last", "act_kwargs": {"approximate": "tanh"}}, False, id="SigLIP"
        ),
        pytest.param({"no_causal_mask": True, "pool_type": "first"}, False, id="pooled at the first token"),
        pytest.param({"ls_init_value": 0.5, "mlp_ratio": 2.0}, True, id="scaled layers"),
        pytest.param({"norm_kwargs": {"eps": 1e-3}, "width": 64, "heads": 1}, True, id="another epsilon"),
        pytest.param({"proj_type": "none", "width": 24}, True, id="without a projection"),
        pytest.param({"width": 160, "vocab_size": 500}, True, id="weights beside the graph"),
    ],
)
def test_a_tower_gives_the_embeddings_of_torch(options: dict[str, Any], trimmed: bool, tmp_path: Path) -> None:
    import torch

    from mmsearch.encoders.text_export import text_layers

    model = made(**options)
    for length in (CONTEXT, 5) if trimmed else (CONTEXT,):
        tokens = some_tokens(length)
        with torch.inference_mode():
            expected = text_layers(model, simple=trimmed)[0](torch.from_numpy(tokens)).numpy()
        np.testing.assert_allclose(by_graph(model, tmp_path, tokens, trimmed=trimmed), expected, atol=2e-6)
    assert (tmp_path / "text.onnx.data").exists()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"embed_cls": True}, id="a class token"),
        pytest.param({"qk_norm": True}, id="other blocks"),
        pytest.param({"pool_type": "none"}, id="no pooling"),
    ],
)
def test_a_tower_of_another_make_is_left_to_the_exporter_of_torch(options: dict[str, Any], tmp_path: Path) -> None:
    from mmsearch.encoders.text_graph import UnknownTowerError, write_text_graph

    with pytest.raises(UnknownTowerError):
        write_text_graph(made(**options), tmp_path / "text.onnx", context_length=CONTEXT, trimmed=False)


@pytest.mark.parametrize("part", ["activation", "padding", "tokens"])
def test_what_is_seldom_in_a_tower_is_left_to_the_exporter_of_torch(part: str, tmp_path: Path) -> None:
    import torch

    from mmsearch.encoders.text_graph import UnknownTowerError, write_text_graph

    model = made()
    if part == "activation":
        model.text.transformer.resblocks[1].mlp.gelu = torch.nn.ReLU()
    else:
        setattr(model.text, "use_pad_mask" if part == "padding" else "output_tokens", True)
    with pytest.raises(UnknownTowerError):
        write_text_graph(model, tmp_path / "text.onnx", context_length=CONTEXT, trimmed=True)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    from mmsearch.encoders.text_graph import write_text_graph

    with pytest.raises(StorageError, match="cannot be written"):
        write_text_graph(made(), tmp_path / "nowhere" / "text.onnx", context_length=CONTEXT, trimmed=True)
