"""The manifest of a token store: whose tokens its files hold, and which files those are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmsearch.files import written
from mmsearch.types import TokenFormat

__all__ = ["HINT", "MANIFEST_NAME", "PAUSED", "TokenManifest", "read_manifest", "write_manifest"]

MANIFEST_NAME = "manifest.json"
HINT = "Free the disk and run the command again; nothing that was stored is lost."
PAUSED = 2**63 - 1
_VERSION = 1


@dataclass(frozen=True, slots=True)
class TokenManifest:
    """What the files of a token store hold.

    Attributes:
        collection: Whose segments they are of.
        catalog: Of which catalog; ids of another one are other pictures.
        reranker: For which reranker the tokens were made.
        count, dim: Tokens of a picture, and numbers of a token.
        generation: Part of the files' names; grows whenever they are written anew.
        since: The highest segment id that there was when the store was begun: no tokens are missed up to there. While
            the library is indexed without tokens it is `PAUSED`.
        runs: Rows at which ascending runs of ids begin. There is one, until a gap is filled.
        saved: Rows that are known to have reached the disk; those after them have to be looked at after a crash.
        version: Of this format.
    """

    collection: str
    catalog: str
    reranker: str
    count: int
    dim: int
    generation: int
    since: int = 0
    runs: tuple[int, ...] = (0,)
    saved: int = 0
    version: int = _VERSION

    @property
    def format(self) -> TokenFormat:
        """What is kept of a picture."""
        return TokenFormat(self.count, self.dim)

    @property
    def rows_name(self) -> str:
        """The file of the rows."""
        return f"rows-{self.generation}.bin"

    @property
    def ids_name(self) -> str:
        """The file of the rows' ids alone, which a search for rows reads."""
        return f"ids-{self.generation}.bin"


def read_manifest(folder: Path, collection: str, catalog: str) -> TokenManifest | None:
    """Read the manifest in a folder.

    Returns:
        None where there is none, or one that is damaged, of a newer format, or of another catalog: in all of these
        cases the tokens have to be made anew, which loses nothing but time.
    """
    try:
        data: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_bytes())
        manifest = TokenManifest(**(data | {"runs": tuple(data["runs"])}))
        numbers = (manifest.count, manifest.dim, manifest.generation, manifest.since, manifest.saved, *manifest.runs)
        if (manifest.version, manifest.collection, manifest.catalog) != (_VERSION, collection, catalog):
            return None
        if not all(type(number) is int and number >= 0 for number in numbers) or not isinstance(manifest.reranker, str):
            return None
        rising = all(first < second for first, second in zip(manifest.runs, manifest.runs[1:], strict=False))
        if not rising or manifest.runs[:1] != (0,) or min(manifest.count, manifest.dim) < 1:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return manifest


def write_manifest(folder: Path, manifest: TokenManifest) -> None:
    """Put a manifest in the place of the former one, atomically.

    Raises:
        StorageError: It could not be written; the former one still holds.
    """
    with written(folder / MANIFEST_NAME, hint=HINT) as file:
        file.write(json.dumps(asdict(manifest), indent=1).encode())
