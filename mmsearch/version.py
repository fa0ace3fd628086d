"""The version of mmsearch, and nothing else."""

__version__ = "0.1.0"
