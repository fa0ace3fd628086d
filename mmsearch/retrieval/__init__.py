"""A query -> hits: its terms are embedded by every encoder, each collection is ranked, the lists are joined by item."""

from mmsearch.retrieval.retriever import Retriever

__all__ = ["Retriever"]
