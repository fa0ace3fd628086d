"""The exported text tower: what it must have in common with the one in torch."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsearch.encoders.model_folder import ModelFolder
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.encoders.text_tokens import CLEANERS, TextTokens, padded
from mmsearch.errors import EncoderError, ExtraMissingError
from tests.encoders import tiny as tiny_models
from tests.encoders.conftest import open_clip_encoder
from tests.encoders.contract import TEXTS

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_open_clip")]

LONG = "a caption without end " * 60
# Characters that have a meaning by now: tokenizers know different versions of Unicode.
ASSIGNED = st.characters(codec="utf-8", exclude_categories=["Cn", "Co", "Cs"])


@pytest.fixture(scope="session")
def both_tokenizers(exported: Path, tiny_folder: Path) -> tuple[Any, Callable[[list[str]], Any]]:
    """open_clip's tokenizer and ours, both padded to the context length."""
    import open_clip

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(exported))
        folder = ModelFolder(f"open_clip/local-dir:{tiny_folder}")
        meta = folder.read()
        assert meta is not None
        assert meta.text is not None
        tokens = TextTokens(folder.path / meta.text.folder, meta.text)

    def ours(texts: list[str]) -> Any:
        rows = tokens(texts)
        return padded([row + [0] * (77 - len(row)) for row in rows], meta.text)

    return open_clip.get_tokenizer(f"local-dir:{tiny_folder}"), ours


@given(text=st.text(ASSIGNED, max_size=60))
@example("it's HIS dog's   ball,\n\nisn't it?")
@example("<start_of_text>a<end_of_text>b &amp;amp;lt; \u201cquoted\u201d … \x1b[31mred\x1b[0m ﬁ Ｆｕｌｌ")
@example("İstanbul ſſ ǅ Σς 5٣")
@settings(max_examples=150)
def test_any_text_gives_the_tokens_that_open_clip_gives(both_tokenizers: Any, text: str) -> None:
    theirs, ours = both_tokenizers
    np.testing.assert_array_equal(ours([text]), theirs([text]).numpy())


@pytest.mark.parametrize("name", ["lower", "whitespace", "canonicalize"])
@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_texts_are_cleaned_as_open_clip_cleans_them(name: str, text: str) -> None:
    from open_clip.tokenizer import get_clean_fn

    assert CLEANERS[name](text) == get_clean_fn(name)(text)


def test_a_short_text_is_not_padded_to_the_context_length(tiny: OpenClipEncoder) -> None:
    meta = tiny.describe()
    assert meta.text is not None
    assert meta.text.trimmed
    tower = tiny._text_tower()
    session = tower._session  # type: ignore[union-attr]
    assert [axis for axis in session.get_inputs()[0].shape if isinstance(axis, int)] == []


def test_texts_of_many_lengths_come_back_in_their_order(tiny: OpenClipEncoder) -> None:
    texts = [" ".join(["dog"] * (7 * i % 40)) + f" {i}" for i in range(150)]
    together = tiny.encode_texts(texts)
    for i in (0, 1, 63, 64, 149):
        np.testing.assert_allclose(together[i], tiny.encode_texts([texts[i]])[0], atol=2e-5)


def reference(folder: Path, texts: list[str]) -> Any:
    """What open_clip itself makes of the texts."""
    import open_clip
    import torch

    model = open_clip.create_model_from_pretrained(f"local-dir:{folder}", return_transform=False).eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    with torch.inference_mode():
        return torch.nn.functional.normalize(model.encode_text(tokens), dim=-1).numpy()


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        pytest.param(
            {"pool_type": "eos", "eos_id": 49407, "proj_bias": True, "tokenizer_kwargs": {"clean": "canonicalize"}},
            True,
            id="pooled at the end token, cleaned otherwise",
        ),
        pytest.param({"no_causal_mask": True, "pool_type": "last"}, False, id="without a causal mask"),
        pytest.param({"embed_cls": True, "context_length": 20}, False, id="with a class token"),
    ],
)
def test_other_text_towers_are_exported_too(text: dict[str, Any], trimmed: bool, tmp_path: Path) -> None:
    config = {**tiny_models.architecture(layers=1, **text), "custom_text": True, "quick_gelu": True}
    folder = tiny_models.save_repository(tmp_path / "model", config)
    encoder = open_clip_encoder(folder)
    meta = encoder.describe()
    assert meta.text is not None, meta.reason
    assert meta.text.trimmed == trimmed
    np.testing.assert_allclose(encoder.encode_texts([*TEXTS, LONG]), reference(folder, [*TEXTS, LONG]), atol=1e-4)


def test_a_tokenizer_of_transformers_is_exported_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = tiny_models.save_repository(tmp_path / "model", hugging_face(tmp_path / "model"))
    encoder = open_clip_encoder(folder)
    meta = encoder.describe()
    assert meta.text is not None, meta.reason
    assert (meta.text.wrap, meta.text.clean) == (None, "canonicalize")
    np.testing.assert_allclose(encoder.encode_texts([*TEXTS, LONG]), reference(folder, [*TEXTS, LONG]), atol=1e-4)


def test_a_tower_that_cannot_be_exported_stays_in_torch_and_says_why(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = hugging_face(tmp_path / "model")
    config["text_cfg"]["tokenizer_mode"] = "clips"
    folder = tiny_models.save_repository(tmp_path / "model", config)
    encoder = open_clip_encoder(folder)
    meta = encoder.describe()
    assert meta.text is None
    assert "mode of its own" in str(meta.reason)
    np.testing.assert_allclose(encoder.encode_texts([*TEXTS, LONG]), reference(folder, [*TEXTS, LONG]), atol=1e-4)
    again = open_clip_encoder(folder)
    assert again.describe() == meta
    np.testing.assert_allclose(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-6)


def test_a_tokenizer_of_transformers_without_transformers_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.save_repository(tmp_path / "model", hugging_face(tmp_path / "model"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ExtraMissingError, match="needs packages that are not installed") as caught:
        open_clip_encoder(folder).encode_texts(["a dog"])
    assert caught.value.hint == "Run: pip install 'mmsearch[hf]'"


@pytest.mark.parametrize("file", ["text.onnx", "merges.txt"])
def test_an_export_that_was_damaged_is_an_error_in_one_sentence(
    file: str, cache: Path, exported: Path, tiny_folder: Path
) -> None:
    shutil.copytree(exported, cache)
    (damaged,) = cache.rglob(file)
    damaged.write_bytes(b"\x00" * 100)
    with pytest.raises(EncoderError, match="cannot be read"):
        open_clip_encoder(tiny_folder).encode_texts(["a dog"])


def hugging_face(folder: Path) -> dict[str, Any]:
    """A configuration with a small transformers tokenizer, which is written into the folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[BOS]", "[EOS]"]
    tokenizer.train_from_iterator(
        [*TEXTS, LONG], trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ("pad", "unk", "cls", "sep", "bos", "eos")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                **{f"{name}_token": f"[{name.upper()}]" for name in names},
            }
        )
    )
    text = {
        "hf_tokenizer_name": "local",
        "tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": True},
        "no_causal_mask": True,
        "pool_type": "first",
        "context_length": 24,
        "vocab_size": 400,
    }
    return {**tiny_models.architecture(layers=1, **text), "custom_text": True}
