"""A query -> hits: terms are embedded, collections ranked, the best matches read again, the lists joined by item."""

from mmsearch.retrieval.reranking import SHORTLIST
from mmsearch.retrieval.retriever import Retriever

__all__ = ["SHORTLIST", "Retriever"]
