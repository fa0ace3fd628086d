"""Lexemes -> a query: which words are one term, which name a file, and what is limited."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from mmsearch.errors import QueryError
from mmsearch.files import at_home
from mmsearch.filters import Filters
from mmsearch.media import modality_of
from mmsearch.query.lexer import Lexeme, Source
from mmsearch.query.values import Query, Term

__all__ = ["Parser", "near_miss_of", "whole_file"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_KEYED = re.compile(r"-?([A-Za-z]{3,}):[^\s/]\S*")
_WEIGHED = re.compile(r"(\d+(?:\.\d+)?):(\D.*)", re.DOTALL)


def near_miss_of(lexeme: Lexeme, source: Source) -> QueryError | None:
    """The error of a key that does not exist, where it is nearly one that does."""
    keyed = _KEYED.fullmatch(lexeme.text) if lexeme.kind == "word" and lexeme.weight is None else None
    if keyed is None:
        return None
    from mmsearch.query.filter_syntax import near_miss

    meant = near_miss(keyed[1])
    if meant is None:
        return None
    at = lexeme.start + keyed.start(1)
    return source.error(
        f"There is no filter {keyed[1]}:, did you mean {meant}:?",
        at,
        at + len(keyed[1]) + 1,
        hint=f'To look for these very words: "{lexeme.text}"',
    )


def whole_file(source: Source, start: int, end: int) -> list[Lexeme]:
    """A word of a command line that names a file, with a weight before it or without; none where it does not."""
    text = source.text[start:end].strip()
    if not any(map(str.isspace, text)):
        return []  # read as a string it is the same
    weighed = _WEIGHED.fullmatch(text)
    weight, name = (None, text) if weighed is None else (float(weighed[1]), weighed[2])
    if _file(name) is None and not (_written_as_path(name) and modality_of(name) is not None):
        return []
    return [Lexeme("word", name, start, end, weight=weight, path=True)]


class Parser:
    """Reads the lexemes of a query from left to right.

    Args:
        source: The query.
        stdin: Reads standard input to its end; without it ``-`` is an error.
        now: What ``7d`` counts from; the clock when None.
    """

    def __init__(self, source: Source, stdin: Callable[[], bytes] | None, now: datetime | None) -> None:
        self._source = source
        self._stdin = stdin
        self._now = now
        self._terms: list[Term] = []
        self._filters = Filters()
        self._words: list[Lexeme] = []
        self._sign, self._weight = 1.0, 1.0
        self._operand_due = True  # at the start, and after an operator

    def query(self, lexemes: Sequence[Lexeme]) -> Query:
        """Make a query of lexemes.

        Raises:
            QueryError: They make none; it says where.
        """
        before: Lexeme | None = None  # the operator that came last
        avoided: Lexeme | None = None
        for place, lexeme in enumerate(lexemes):
            if lexeme.kind == "operator":
                rest = lexemes[place + 1 :]
                if self._operand_due and _stands_for_stdin(lexeme, rest):
                    self._content(lexeme, _standard_input(self._stdin, lexeme, self._source), None)
                    continue
                if self._operand_due and before is not None:
                    raise self._nothing_between(before, lexeme)
                self._flush()
                self._sign, self._operand_due, before = (1.0 if lexeme.text == "+" else -1.0), True, lexeme
                avoided = avoided or (lexeme if lexeme.text == "-" else None)
            elif lexeme.kind in ("filter", "group"):
                self._limit(lexeme, excluded=lexeme.negated)
            elif lexeme.kind == "quoted":
                self._quoted(lexeme)
            else:
                self._word(lexeme)
        if self._operand_due and before is not None:
            raise self._nothing_after(before, lexemes[-1])
        self._flush()
        if not self._terms and not self._filters:
            raise QueryError("The query is empty.", hint='For example: mmsearch query "a dog on the beach"')
        if self._terms and not any(term.weight > 0 for term in self._terms) and avoided is not None:
            raise self._source.error(
                "A query needs something to look for, not only something to avoid.",
                avoided.start,
                avoided.end,
                hint='For example: mmsearch query "a dog" - leash',
            )
        return Query(tuple(self._terms), self._filters)

    def _limit(self, lexeme: Lexeme, *, excluded: bool) -> None:
        from mmsearch.query.filter_syntax import both, filter_from

        now = self._now or datetime.now()
        found = filter_from(lexeme, self._source, now)
        limit = Filters(excluded=(found,)) if excluded else found
        self._filters = both(self._filters, limit, lexeme, self._source)

    def _quoted(self, lexeme: Lexeme) -> None:
        path = Path(at_home(lexeme.text)) if lexeme.path else None
        if path is not None and (_is_file(path) or modality_of(path) is not None):
            if not _is_file(path):
                raise self._no_file(lexeme)
            self._content(lexeme, path, lexeme.weight)
        elif lexeme.weight is not None:
            if not lexeme.text.strip():
                raise self._source.error("Nothing stands between the quotation marks.", lexeme.start, lexeme.end)
            self._content(lexeme, lexeme.text, lexeme.weight)
        else:
            self._limit(lexeme, excluded=lexeme.negated or self._sign < 0)
            self._operand_due = False

    def _word(self, lexeme: Lexeme) -> None:
        if _ADDRESS.fullmatch(lexeme.text):
            raise self._source.error(
                f"{lexeme.text} is an address, and mmsearch fetches nothing.",
                lexeme.start,
                lexeme.end,
                hint="Save the picture first.",
            )
        if (error := near_miss_of(lexeme, self._source)) is not None:
            raise error
        file = _file(lexeme.text)
        if file is not None:
            self._content(lexeme, file, lexeme.weight)
        elif _written_as_path(lexeme.text):
            raise self._no_file(lexeme)
        else:
            if lexeme.weight is not None:
                self._flush()
                self._weight = self._checked(lexeme)
            elif self._operand_due:
                self._flush()
            self._words.append(lexeme)
            self._operand_due = False

    def _content(self, lexeme: Lexeme, content: str | Path | bytes, weight: float | None) -> None:
        """Add a term that stands by itself."""
        self._flush()
        self._terms.append(Term(content, self._sign * (1.0 if weight is None else self._checked(lexeme))))
        self._operand_due = False

    def _flush(self) -> None:
        if self._words:
            words = " ".join(lexeme.text for lexeme in self._words)
            if len(self._words) == 1 and modality_of(words) is not None and os.path.splitext(words)[0]:
                raise self._no_file(self._words[0])
            self._terms.append(Term(words, self._sign * self._weight))
        self._words, self._weight = [], 1.0

    def _checked(self, lexeme: Lexeme) -> float:
        weight = lexeme.weight or 0.0
        if not 0 < weight < float("inf"):
            raise self._source.error(
                f"The weight of {lexeme.text!r} is {weight:g}, so it would {'not' if not weight else 'alone'} count.",
                lexeme.start,
                lexeme.end,
                hint="Leave it out, or use '-'.",
            )
        return weight

    def _no_file(self, lexeme: Lexeme) -> QueryError:
        name = lexeme.text
        try:
            there = Path(at_home(name)).exists()
        except (OSError, ValueError):
            there = False
        if there:
            hint = f"To search inside a folder: mmsearch index {name}"
            return self._source.error(f"{name} is not a file.", lexeme.start, lexeme.end, hint=hint)
        hint = f'To look for its name in the library: "{os.path.basename(name)}"'
        return self._source.error(f"There is no file {name}.", lexeme.start, lexeme.end, hint=hint)

    def _nothing_between(self, before: Lexeme, lexeme: Lexeme) -> QueryError:
        return self._source.error(
            f"Nothing stands between {before.text!r} and {lexeme.text!r}.", before.start, lexeme.end
        )

    def _nothing_after(self, operator: Lexeme, last: Lexeme) -> QueryError:
        hint = "Put words or a picture there."
        if operator.text == "-" and last.kind == "filter" and last.start > operator.start:
            hint = f"To leave out what passes a filter, put the minus right before it: -{last.text}"
        return self._source.error(f"Nothing stands after {operator.text!r}.", operator.start, operator.end, hint=hint)


def _stands_for_stdin(operator: Lexeme, rest: Sequence[Lexeme]) -> bool:
    """Whether a ``-`` where a term is due is a term: nothing follows that it could push away."""
    following = next((lexeme for lexeme in rest if lexeme.kind not in ("filter", "group")), None)
    return operator.text == "-" and (following is None or following.kind == "operator")


def _standard_input(stdin: Callable[[], bytes] | None, lexeme: Lexeme, source: Source) -> str | bytes:
    """Words or a picture from standard input."""
    if stdin is None:
        raise source.error("There is no standard input to read '-' from.", lexeme.start, lexeme.end)
    data = stdin()
    if not data.strip():
        raise QueryError("Standard input is empty.", hint="For example: mmsearch query - < photo.jpg")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    return data if "\x00" in text else " ".join(text.split())


def _file(text: str) -> Path | None:
    """The file that a word names, or None where it is no more than a word."""
    path = Path(at_home(text))
    return path if _is_file(path) and (modality_of(path) is not None or _written_as_path(text)) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # words too long for a path, or with a NUL in them
        return False


def _written_as_path(text: str) -> bool:
    return text.startswith(("./", "../", "/", "~/", ".\\", "..\\"))
