"""A query -> hits: terms are embedded by every encoder, collections ranked, the best read again, lists joined by item."""

from mmsearch.retrieval.reranking import SHORTLIST
from mmsearch.retrieval.retriever import Retriever

__all__ = ["SHORTLIST", "Retriever"]
