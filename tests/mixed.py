"""What the sample notes, sounds and videos hold, for tests that search them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SCENES", "Scene"]


class Scene(NamedTuple):
    """A part of a sample video: which sample photograph and which sample sound it is made of, if any, and when."""

    photo: str
    start_ms: int
    end_ms: int
    sound: str | None = None


SCENES: dict[str, tuple[Scene, ...]] = {
    "cities.mp4": (
        Scene("colosseum", 0, 4_000),
        Scene("eiffel-tower", 4_000, 9_000),
        Scene("pyramid", 9_000, 13_000),
        Scene("coffee", 13_000, 16_000),
    ),
    "farm.mp4": (
        Scene("shepherd", 0, 4_000, "dog"),
        Scene("horses", 4_000, 9_000, "horse"),
        Scene("chickens", 9_000, 13_000, "rooster"),
        Scene("sheep", 13_000, 17_000, "sheep"),
    ),
    "wildlife.mp4": (
        Scene("owl", 0, 3_000),
        Scene("giraffes", 3_000, 7_000),
        Scene("polar-bear", 7_000, 10_000),
        Scene("kingfisher", 10_000, 13_000),
        Scene("crab", 13_000, 16_000),
    ),
}
