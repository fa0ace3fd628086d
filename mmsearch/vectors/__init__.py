"""Vector indexes: exact and approximate nearest neighbours, kept on disk as a cache of the catalog.

`VectorStore` is what the rest of mmsearch uses; import it from `mmsearch.vectors.store`.
"""
