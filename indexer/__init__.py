"""The batch embedding pipeline: files -> scan -> changes -> decode -> encode -> store."""
