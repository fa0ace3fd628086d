"""The parts of `mmsearch.recommend`: items as a table, histories, profiles, candidates, export."""
