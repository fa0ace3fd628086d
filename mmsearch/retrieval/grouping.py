"""Matching segments -> hits, one for each item, with its other good segments folded under the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mmsearch.query.fusion import fuse_lists
from mmsearch.retrieval.ranking import Match
from mmsearch.types import Hit, Modality, Stage

__all__ = ["group"]

MAX_OTHERS = 10
"""Segments that are folded under the best one at most."""
# Others are worth showing that are at least half as likely to match as the best.
_GOOD = 0.5


def group(lists: Sequence[Sequence[Match]], k: int) -> list[Hit]:
    """Join the ranked lists of a query's collections into hits.

    With one list the order is that of its scores, with several that of `mmsearch.query.fusion.fuse_lists`.

    Args:
        lists: The matches of each collection, best first.
        k: How many items.

    Returns:
        At most k hits, best first.
    """
    lists = [matches for matches in lists if matches]
    by_item: dict[int, list[Match]] = {}
    ranked: list[list[tuple[int, float]]] = []
    for matches in lists:
        firsts: dict[int, float] = {}
        for match in matches:
            by_item.setdefault(match.record.item.id, []).append(match)
            firsts.setdefault(match.record.item.id, match.relevance)
        ranked.append(list(firsts.items()))
    if len(lists) == 1:
        first_scores = [(item, by_item[item][0].score) for item, _ in ranked[0]]
        return [_hit(rank, by_item[item], score) for rank, (item, score) in enumerate(first_scores[:k], start=1)]
    fused = fuse_lists(ranked)[:k]
    return [_hit(rank, by_item[item], score, "fused") for rank, (item, score) in enumerate(fused, start=1)]


def _hit(rank: int, matches: list[Match], score: float, stage: Stage | None = None) -> Hit:
    # Sorting is stable, so that of equally relevant ones the first in its list stays first.
    matches = _each_once(sorted(matches, key=lambda match: -match.relevance)) if stage else matches
    good = [match for match in matches if match.relevance >= _GOOD * matches[0].relevance]
    hits = [_as_hit(rank, match) for match in good]
    best, *others = _merged(zip(good, hits, strict=True))
    told = best.stage if stage is None or best.stage == "rerank" else stage
    return replace(best, score=score, stage=told, others=tuple(others[:MAX_OTHERS]))


def _each_once(matches: Iterable[Match]) -> list[Match]:
    """Without the segments that another encoder found more relevant."""
    found: dict[int, Match] = {}
    for match in matches:
        found.setdefault(match.record.segment.id, match)
    return list(found.values())


def _merged(found: Iterable[tuple[Match, Hit]]) -> list[Hit]:
    """Make frames of one shot one hit with a range, and leave out windows of sound that overlap a better one."""
    hits: list[Hit] = []
    shots: dict[int, int] = {}
    for match, hit in found:
        shot = match.record.segment.shot
        if shot is not None and shot in shots:
            at = shots[shot]
            hits[at] = _spanning(hits[at], hit)
            continue
        if hit.matched is Modality.AUDIO and any(_overlap(hit, other) for other in hits):
            continue
        if shot is not None:
            shots[shot] = len(hits)
        hits.append(hit)
    return hits


def _spanning(hit: Hit, other: Hit) -> Hit:
    times = [time for time in (hit.start_ms, hit.end_ms, other.start_ms) if time is not None]
    return replace(hit, start_ms=min(times), end_ms=max(times))


def _overlap(hit: Hit, other: Hit) -> bool:
    if other.matched is not Modality.AUDIO or None in (hit.start_ms, hit.end_ms, other.start_ms, other.end_ms):
        return False
    return hit.start_ms < other.end_ms and other.start_ms < hit.end_ms  # type: ignore[operator]


def _as_hit(rank: int, match: Match) -> Hit:
    segment, item = match.record.segment, match.record.item
    return Hit(
        rank=rank,
        score=match.score,
        relevance=match.relevance,
        stage=match.stage,
        item_id=item.id,
        segment_id=segment.id,
        modality=item.modality,
        path=item.path,
        start_ms=segment.start_ms,
        end_ms=segment.end_ms,
        text=segment.text,
        start_char=segment.start_char,
        end_char=segment.end_char,
        page=segment.page,
        matched=segment.modality,
        retrieval_score=match.retrieval_score,
        key=item.key,
        metadata=item.metadata,
    )
