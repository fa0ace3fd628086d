"""A library as a retriever of LangChain: questions in, documents out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmsearch.errors import ExtraMissingError

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ExtraMissingError("The retriever of LangChain", "langchain") from error

if TYPE_CHECKING:
    from mmsearch.types import Hit

__all__ = ["MmsearchRetriever"]


class MmsearchRetriever(BaseRetriever):
    """Finds documents for a question.

    Attributes:
        engine: A `SearchEngine`, which stays open.
        k: How many documents at most.
        options: Further arguments of `SearchEngine.search`, such as ``{"filters": "type:text"}``.
    """

    engine: Any
    k: int = 10
    options: dict[str, Any] = {}  # noqa: RUF012 - a field of pydantic, which copies it

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        search: Callable[..., list[Hit]] = self.engine.search
        return [_document(hit) for hit in search(query, self.k, **self.options)]


def _document(hit: Hit) -> Document:
    facts = hit.to_dict()
    text = facts.pop("text") or facts["key"] or facts["path"] or ""
    return Document(page_content=text, metadata={**facts.pop("metadata"), **facts}, id=hit.key or str(hit.path))
