"""Ids of CLAP models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.encoders import load_encoder
from mmsearch.encoders.clap_source import ClapSource, is_clap
from mmsearch.errors import UnknownEncoderError, UsageError

UNFUSED = "clap/laion/clap-htsat-unfused"


@pytest.mark.parametrize("name", [UNFUSED, "clap/hf-hub:laion/clap-htsat-unfused"])
def test_a_repository_has_one_id(name: str) -> None:
    assert ClapSource.parse(name) == ClapSource(UNFUSED, "laion/clap-htsat-unfused", None)


def test_a_folder_becomes_absolute_and_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = ClapSource(f"clap/local-dir:{tmp_path.resolve() / 'mine'}", None, tmp_path.resolve() / "mine")
    for name in ("clap/./mine", "clap/local-dir:mine", f"clap/{tmp_path}/mine", f"clap/local-dir:{tmp_path}/mine"):
        assert ClapSource.parse(name) == expected


@pytest.mark.parametrize("name", ["clap", "clap/", "clap/laion", "clap/laion/a/b", "clap/hf-hub:laion", "clap/a b/c"])
def test_what_names_no_repository_is_an_unknown_model(name: str) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no model") as caught:
        load_encoder(name)
    assert "clap/<organisation>/<name>" in str(caught.value.hint)
    assert "mmsearch models list" in str(caught.value.hint)


@pytest.mark.parametrize("content", ["", "[]", '{"model_type": "clip"}', "{", "\xff", "[" * 100_000])
def test_a_folder_with_another_configuration_is_none_of_clap(content: str, tmp_path: Path) -> None:
    assert not is_clap(tmp_path)
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert not is_clap(tmp_path)


@pytest.mark.parametrize(("device", "precision"), [("gpu", None), (None, "int4")])
def test_a_device_or_precision_that_does_not_exist_is_wrong_usage(device: str | None, precision: str | None) -> None:
    with pytest.raises(UsageError, match=r"There is no (device|precision)"):
        load_encoder(UNFUSED, device=device, precision=precision)


def test_making_an_encoder_loads_nothing_heavy() -> None:
    code = (
        "import sys; from mmsearch.encoders import load_encoder; "
        f"load_encoder({UNFUSED!r}, device='auto', precision='auto'); "
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'huggingface_hub', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
