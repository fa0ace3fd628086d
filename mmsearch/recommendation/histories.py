"""What users did -> flat arrays: for each user the items, each once, with a weight that fades with time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Event", "Histories", "Weighed", "weigh"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user did with an item.

    >>> Event("shoe-42", weight=2.0).key
    'shoe-42'

    Attributes:
        key: Of the item, or the absolute path of its file.
        weight: How much it says; below 0 for a dislike.
        time: When: a datetime (one without zone is UTC), or seconds from any beginning; None for now.
    """

    key: str
    weight: float = 1.0
    time: datetime | float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """The events of many users as columns, which costs less than an object for each.

    >>> histories = Histories.from_columns(["ann", "bob", "ann"], ["a", "b", "c"])
    >>> histories.users, len(histories)
    (('ann', 'bob'), 2)

    Attributes:
        users: m names.
        user: (n,) which user each event is of, 0 to m - 1.
        keys: n keys of items.
        weights: (n,) float64.
        times: (n,) seconds, NaN for now.
    """

    users: tuple[Hashable, ...]
    user: NDArray[np.int64]
    keys: Sequence[str]
    weights: NDArray[np.float64]
    times: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not (len(self.user) == len(self.keys) == len(self.weights) == len(self.times)):
            raise UsageError("The columns of histories must have one length.")
        if not np.isfinite(self.weights).all() or np.isinf(self.times).any():
            raise UsageError("Weights and times of events must be finite numbers.")

    def __len__(self) -> int:
        """Number of users."""
        return len(self.users)

    @classmethod
    def from_columns(
        cls,
        users: Iterable[Hashable],
        keys: Iterable[str],
        weights: Iterable[float] | NDArray[Any] | None = None,
        times: Iterable[float] | NDArray[Any] | None = None,
    ) -> Histories:
        """One entry of each column is one event; users come in the order in which they appear.

        Raises:
            UsageError: The columns are not of one length, or hold what is not finite.
        """
        known: dict[Hashable, int] = {}
        user = np.fromiter((known.setdefault(name, len(known)) for name in users), np.int64)
        n = len(user)
        return cls(
            tuple(known),
            user,
            list(keys),
            np.ones(n) if weights is None else np.fromiter(weights, np.float64),
            np.full(n, np.nan) if times is None else np.fromiter(times, np.float64),
        )

    @classmethod
    def of(cls, histories: Sequence[Iterable[Event | str]]) -> Histories:
        """One iterable of events for each user, who get the numbers from 0 on as names; a key alone is an event too.

        Raises:
            UsageError: Something is no event, or holds what is not finite.
        """
        rows = [(user, _event(event)) for user, events in enumerate(histories) for event in events]
        return cls(
            tuple(range(len(histories))),
            np.array([user for user, _ in rows], np.int64),
            [event.key for _, event in rows],
            np.array([event.weight for _, event in rows], np.float64),
            np.array([_seconds(event.time) for _, event in rows], np.float64),
        )


def _event(event: object) -> Event:
    if isinstance(event, str):
        return Event(event)
    if not isinstance(event, Event):
        raise UsageError(f"A history holds events or keys, not {type(event).__name__}.")
    return event


def _seconds(time: datetime | float | None) -> float:
    if isinstance(time, datetime):
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return np.nan if time is None else float(time)


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """The items of m users, each item once for a user, in order of users and rows.

    Attributes:
        user: (n,) ascending.
        rows: (n,) of the items, ascending for a user.
        weights: (n,) above 0 for likes, below for dislikes.
    """

    user: NDArray[np.int64]
    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


def weigh(
    histories: Histories,
    rows_of_keys: Callable[[Sequence[str]], NDArray[np.int64]],
    half_life_s: float | None,
    now_s: float | None,
) -> Weighed:
    """Let weights fade and add up those of one item: w * 2 ** (-age / half-life).

    The order of events does not matter. Items that the library does not have are left out.

    Args:
        histories: Of m users.
        rows_of_keys: From keys to rows, -1 where there is none.
        half_life_s: After so many seconds an event weighs half; None when nothing fades.
        now_s: When now is; for each user the time of the last event when None.
    """
    m, user = len(histories), histories.user
    rows = rows_of_keys(histories.keys)
    weights = histories.weights.copy()
    if half_life_s is not None and len(user):
        last = np.full(m, -np.inf)
        timed = ~np.isnan(histories.times)
        np.maximum.at(last, user[timed], histories.times[timed])
        now = last[user] if now_s is None else np.full(len(user), now_s)
        ages = np.where(timed, np.maximum(0.0, now - np.where(timed, histories.times, 0.0)), 0.0)
        weights *= np.exp2(-ages / half_life_s)
    order = np.lexsort((weights, rows, user))  # also within an item: sums do not depend on the order of events
    order = order[rows[order] >= 0]
    user, rows, weights = user[order], rows[order], weights[order]
    firsts = np.flatnonzero((np.diff(user, prepend=-1) != 0) | (np.diff(rows, prepend=-1) != 0))
    sums = np.add.reduceat(weights, firsts) if len(firsts) else weights
    return Weighed(user[firsts], rows[firsts], sums)
