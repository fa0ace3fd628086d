"""What a run did and what a library holds, for people: summaries -> lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.present.paths import printable, shown_path
from mmsearch.present.progress import duration_text
from mmsearch.present.table import size_text

if TYPE_CHECKING:
    from mmsearch.types import Failure, IndexSummary, LibraryStatus, TokenSummary

__all__ = [
    "columns",
    "failure_lines",
    "index_text",
    "status_dict",
    "status_lines",
    "summary_dict",
    "summary_lines",
    "token_dict",
    "token_lines",
]

# More skipped files than these are left to `mmsearch status --failures`.
_LISTED = 20
# A cell beyond this width pushes its own row aside instead of every other one.
_WIDEST = 56
# Modality -> what an item of it is called, and a segment.
_ITEMS = {"image": "photo", "text": "text", "audio": "sound", "video": "video"}
_SEGMENTS = {"image": "photo", "text": "passage", "audio": "sound window", "video": "frame"}
_COUNTS = ("new", "changed", "moved", "copied", "removed", "unchanged", "kept")


def summary_lines(summary: IndexSummary) -> Iterator[str]:
    """What an indexing run did: notices, files that were skipped, numbers and times."""
    for notice in summary.notices:
        yield printable(notice)
    skipped = summary.skipped
    yield from _skipped_lines(skipped, "; to see all: mmsearch status --failures")
    counts = [f"{getattr(summary, name):,} {name}" for name in _COUNTS if getattr(summary, name)]
    if skipped:
        counts.append(f"{len(skipped):,} skipped")
    if counts or not summary.embedded:
        yield f"{', '.join(counts) or 'Nothing to do'}."
    if summary.embedded:
        took = f"{summary.elapsed_s:.1f} s" if summary.elapsed_s < 60 else duration_text(summary.elapsed_s)
        embedded = _by_kind(summary.embedded_by, _SEGMENTS) or f"{summary.embedded:,}"
        pace = f"{embedded} embedded in {took}, {summary.segments_per_second:.1f}/s"
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in summary.stage_seconds.items() if seconds)
        yield f"{pace} ({stages})." if stages else f"{pace}."
    if summary.interrupted:
        saved = summary.new + summary.changed + summary.moved + summary.copied
        yield f"Saved {_files(saved)}. Run the same command again to go on."


def summary_dict(summary: IndexSummary) -> dict[str, Any]:
    """The summary for programs."""
    counts = {name: getattr(summary, name) for name in _COUNTS}
    return counts | {
        "skipped": [_failure_dict(failure) for failure in summary.skipped],
        "embedded": summary.embedded,
        "embedded_by": dict(summary.embedded_by),
        "segments_per_second": round(summary.segments_per_second, 2),
        "elapsed_s": round(summary.elapsed_s, 3),
        "stage_seconds": {name: round(seconds, 3) for name, seconds in summary.stage_seconds.items()},
        "interrupted": summary.interrupted,
        "notices": list(summary.notices),
    }


def token_lines(summary: TokenSummary) -> Iterator[str]:
    """What making tokens of indexed pictures did."""
    yield from _skipped_lines(summary.skipped)
    took = f"{summary.elapsed_s:.1f} s" if summary.elapsed_s < 60 else duration_text(summary.elapsed_s)
    yield f"Tokens: made of {_counted(summary.made, 'picture')} in {took}."
    if summary.missing:
        yield f"{_files(summary.missing)} {'is' if summary.missing == 1 else 'are'} not there."
    if summary.changed:
        changed = f"{_files(summary.changed)} {'has' if summary.changed == 1 else 'have'} changed"
        yield f"{changed} since it was indexed. To bring the library up to date: mmsearch index PATH"
    if summary.interrupted:
        yield "Saved what was made so far. The next run of mmsearch index makes those that are missing."


def token_dict(summary: TokenSummary) -> dict[str, Any]:
    """The same for programs."""
    return {
        "tokens_made": summary.made,
        "files_missing": summary.missing,
        "files_changed": summary.changed,
        "skipped": [_failure_dict(failure) for failure in summary.skipped],
        "elapsed_s": round(summary.elapsed_s, 3),
        "interrupted": summary.interrupted,
    }


def failure_lines(failures: Iterable[Failure]) -> Iterator[str]:
    """One line for each file that was passed over."""
    for failure in failures:
        yield f"{shown_path(failure.path)}: {printable(failure.reason)}"


def status_lines(status: LibraryStatus) -> Iterator[str]:
    """What a library holds."""
    yield f"Library   {shown_path(status.path)} (version {status.version}, catalog {size_text(status.catalog_bytes)})"
    yield f"Items     {_by_kind(status.items, _ITEMS) or 'none'}"
    if status.segments:
        kinds = _by_kind(status.segments_by_modality, _SEGMENTS)
        yield f"Segments  {kinds or f'{status.segments:,}'}"
    for record in status.encoders:
        yield f"Model     {record.id} ({record.dim} dimensions)"
    for index in status.indexes:
        encoder = f"{index['encoder']} " if len(status.encoders) > 1 and "encoder" in index else ""
        yield f"Index     {encoder}{index_text(index)}"
    for tokens in status.tokens:
        encoder = f"{tokens['encoder']} " if len(status.encoders) > 1 else ""
        yield f"Tokens    {encoder}{_tokens_text(tokens)}"
    for root in status.roots:
        there = "" if root.get("present", True) else "  (not there now; its items are kept)"
        yield f"Folder    {shown_path(root['path'])}: {_counted(root.get('items', 0), 'item')}{there}"
    if status.failures:
        yield f"Skipped   {_files(status.failures)}; to list them: mmsearch status --failures"


def status_dict(status: LibraryStatus, failures: Sequence[Failure] | None = None) -> dict[str, Any]:
    """The status for programs, with the skipped files if they are given."""
    row: dict[str, Any] = {
        "library": str(status.path),
        "version": status.version,
        "items": dict(status.items),
        "segments": status.segments,
        "segments_by_modality": dict(status.segments_by_modality),
        "failures": status.failures,
        "encoders": [{"id": record.id, "dim": record.dim} for record in status.encoders],
        "indexes": [dict(index) for index in status.indexes],
        "tokens": [dict(tokens) for tokens in status.tokens],
        "roots": [dict(root) for root in status.roots],
        "catalog_bytes": status.catalog_bytes,
    }
    if failures is not None:
        row["failed"] = [_failure_dict(failure) for failure in failures]
    return row


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells, each column as wide as its widest cell, up to a limit; the last one is not padded."""
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def index_text(index: Mapping[str, Any]) -> str:
    """One vector index, as the engine describes it."""
    content = f"{_SEGMENTS[index['modality']]}s, " if index.get("modality") in _SEGMENTS else ""
    kind = index.get("kind") or "none yet"
    pending = index.get("pending") or 0
    waiting = f", {pending:,} searched from the catalog until the next run of mmsearch index" if pending else ""
    vectors, size = _counted(index.get("vectors", 0), "vector"), size_text(index.get("size_bytes", 0))
    return f"{content}{kind}: {vectors}, {size}{waiting}"


def _tokens_text(tokens: Mapping[str, Any]) -> str:
    noun = _SEGMENTS.get(tokens["modality"], tokens["modality"])
    reranker = "none yet" if tokens["reranker"] is None else tokens["reranker"]
    held = f"{noun}s, {reranker}: {_counted(tokens['rows'], 'row')}, {size_text(tokens['size_bytes'])}"
    lacking = tokens["lacking"]
    if not lacking:
        return held
    without = f"{_counted(lacking, noun)} without"
    return f"{held}, {without}; to make them: mmsearch rebuild --tokens"


def _skipped_lines(skipped: Sequence[Failure], more: str = "") -> Iterator[str]:
    if skipped:
        yield f"Skipped {_files(len(skipped))}:"
        yield from (f"  {line}" for line in failure_lines(skipped[:_LISTED]))
        if len(skipped) > _LISTED:
            yield f"  and {len(skipped) - _LISTED:,} more{more}"


def _failure_dict(failure: Failure) -> dict[str, str]:
    return {"path": str(failure.path), "reason": failure.reason}


def _by_kind(counts: Mapping[str, int], nouns: Mapping[str, str]) -> str:
    """Numbers by kind in a fixed order: ``30 photos, 12 passages``; kinds that there are none of are left out."""
    known = [name for name in nouns if name in counts] + [name for name in counts if name not in nouns]
    return ", ".join(_counted(counts[name], nouns.get(name, str(name))) for name in known if counts[name])


def _files(count: int) -> str:
    return _counted(count, "file")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
