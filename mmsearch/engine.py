"""Opens a library and composes the parts."""
