"""Search photos by meaning, on your own machine."""
