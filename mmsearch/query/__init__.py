"""The query layer: words and files -> Query -> candidates -> fused, calibrated scores."""
