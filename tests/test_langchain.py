"""The retriever of LangChain, through the real package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch import SearchEngine
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.storage.catalog import Catalog


def test_a_library_is_a_retriever(tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    from mmsearch.langchain import MmsearchRetriever

    with SearchEngine(Catalog.open(tmp_path, create=True), [HashingEncoder()]) as engine:
        engine.add([{"key": "a", "text": "apples and pears", "metadata": {"shelf": 3}}, {"key": "b", "text": "trains"}])
        retriever = MmsearchRetriever(engine=engine, k=1, options={"min_relevance": 0})
        (document,) = retriever.invoke("apples pears")
        assert document.page_content == "apples and pears"
        assert (document.id, document.metadata["key"], document.metadata["shelf"]) == ("a", "a", 3)


def test_without_langchain_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['langchain_core'] = None; import mmsearch.langchain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'mmsearch[langchain]'" in done.stderr
