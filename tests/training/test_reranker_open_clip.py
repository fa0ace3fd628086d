"""A reranker for the patches of an open_clip tower: trained, kept by a library, and used by its searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from mmsearch import SearchEngine
from mmsearch.encoders import load_encoder
from mmsearch.training.place import Place
from mmsearch.training.reranker import train_reranker
from tests.encoders import tiny
from tests.training.halves import data_of
from tests.training.test_reranker import QUICK

pytestmark = pytest.mark.full


def test_it_is_trained_on_patches_and_reranks_a_library_of_that_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    model = f"open_clip/local-dir:{tiny.save_repository(tmp_path / 'tiny')}"
    encoder = load_encoder(model)
    assert encoder.patches is not None and (encoder.patches.rows, encoder.patches.columns) == (3, 3)
    data = data_of(tmp_path / "data", 32, 8)
    report = train_reranker(encoder, data, replace(QUICK, views=1, caption_views=1), Place(tmp_path / "out"))
    assert report.token_bytes == 9 * QUICK.dim  # as many tokens as there are patches, since those are fewer than asked
    with SearchEngine.open(
        tmp_path / "library", model=model, create=True, read_only=False, reranker=report.file
    ) as engine:
        engine.index([data.dev.images[0].parent])
    with SearchEngine.open(tmp_path / "library") as engine:  # the library has kept it
        hits = engine.search(data.dev.captions[0], k=5, min_relevance=0, words=False)
        assert {hit.stage for hit in hits} == {"rerank"}
        assert engine.search(data.dev.captions[0], k=5, rerank=False, min_relevance=0, words=False)[0].stage == "vector"
