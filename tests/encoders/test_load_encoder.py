"""From the id of a model to its encoder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmsearch.encoders import load_encoder
from mmsearch.errors import UnknownEncoderError, UsageError


@pytest.mark.parametrize("id", ["", "minni", "mini/large", "clap/laion", "/", "open_clipp/ViT-B-32/openai"])
def test_an_unknown_id_is_an_error_that_says_where_to_look(id: str) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no model") as caught:
        load_encoder(id)
    assert "mmsearch models list" in str(caught.value.hint)


def test_a_slip_of_the_pen_is_answered_with_what_was_meant() -> None:
    with pytest.raises(UnknownEncoderError) as caught:
        load_encoder("minni")
    assert "Did you mean mini?" in str(caught.value.hint)


def test_the_hashing_encoder_is_hidden_from_users(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownEncoderError):
        load_encoder("hashing")
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    assert load_encoder("hashing").id == "hashing"


@pytest.mark.parametrize(("device", "precision"), [("gpu", None), ("cuda:x", None), (None, "int4")])
def test_a_device_or_precision_that_does_not_exist_is_wrong_usage(device: str | None, precision: str | None) -> None:
    with pytest.raises(UsageError, match=r"There is no (device|precision)"):
        load_encoder("open_clip/hf-hub:someone/something", device=device, precision=precision)


@pytest.mark.parametrize("id", ["mini", "open_clip/hf-hub:someone/something", "open_clip/ViT-B-32/openai"])
def test_making_an_encoder_loads_nothing_heavy(id: str) -> None:
    code = (
        "import sys; from mmsearch.encoders import load_encoder; "
        f"load_encoder({id!r}, device='auto', precision='auto'); "
        "print(sorted({'torch', 'open_clip', 'onnxruntime', 'huggingface_hub', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
