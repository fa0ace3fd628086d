"""The catalog of a library, in SQLite. Empty on purpose: importing it costs a query nothing it does not use."""
