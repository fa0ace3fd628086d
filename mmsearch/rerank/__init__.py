"""Re-reading a shortlist: pictures as stored tokens, and what reads them together with a query.

The flow: when a library is indexed, `adapter` makes tokens of what the image tower sees and `token_store` keeps them;
when it is asked, `words` reads the query, `cross_attention` reads words and tokens together, and `fusion` says how
likely they match. `foreign` holds rerankers of others, which read the files themselves.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker

__all__ = ["BUILT_IN", "load_reranker", "own_file"]

BUILT_IN = Path(__file__).resolve().parent.parent / "models" / "mini_reranker.safetensors"
"""The reranker of the built-in model."""


def own_file(library: Path, encoder_id: str) -> Path:
    """Where a library keeps the reranker that it was given for one of its encoders."""
    from mmsearch.vectors.manifest import folder_name

    return library / "rerankers" / f"{folder_name(encoder_id)}.safetensors"


def load_reranker(
    name: str | os.PathLike[str] | None, encoder: Encoder, *, library: Path | None = None
) -> Reranker | None:
    """Find the reranker that reads what an encoder sees.

    Args:
        name: The file of one (``mmsearch train reranker`` makes them), or ``coca/...`` or ``blip/...``; None takes the
            one that the library was given, else the built-in one.
        encoder: Whose shortlists it is to read.
        library: The library's folder.

    Returns:
        None where nothing was named and the encoder has none.

    Raises:
        UsageError: The named one reads the shortlists of another encoder.
        ModelMissingError: It is not there, or cannot be read.
        UnknownEncoderError: There is none of that name.
    """
    if name is not None and str(name).startswith(("coca/", "blip/")):
        from mmsearch.rerank.foreign import load_foreign_reranker

        return load_foreign_reranker(str(name))
    own = None if library is None else own_file(library, encoder.id)
    if name is not None:
        file, hint = Path(name), "Make one: mmsearch train reranker --help"
    elif own is not None and own.is_file():
        file, hint = own, "Search with --no-rerank, or give it anew: mmsearch index PATH --reranker FILE"
    elif encoder.id == "mini" and BUILT_IN.is_file():
        file, hint = BUILT_IN, "Install mmsearch again: pip install --force-reinstall mmsearch"
    else:
        return None
    from mmsearch.encoders.mini import MiniEncoder
    from mmsearch.rerank.fusion import FusionReranker

    built_in = encoder if isinstance(encoder, MiniEncoder) and encoder.id == "mini" else None
    reranker = FusionReranker(file, built_in, hint=hint)
    if reranker.settings.encoder != encoder.id:
        raise UsageError(
            f"The reranker {file} reads what {reranker.settings.encoder} finds, not what {encoder.id} does.",
            hint="Train one for it: mmsearch train reranker --help",
        )
    return reranker
