"""Reads what a person asked for: a string, or the words of a command line -> `Query`.

A query is a list of terms with weights, and filters. Between terms ``+`` adds and ``-`` pushes away; ``2:dog`` weighs a
term; a word that names a file is what that file holds; ``-`` where a term should stand is standard input. Words that
follow one another are one term, ``"words in quotation marks"`` must stand in what is found, and ``type:image`` limits
it: ``a dog + ./pool.jpg - leash type:image after:2023``. docs/query-language.md defines all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from mmsearch.errors import QueryError
from mmsearch.filters import Filters
from mmsearch.query.lexer import Lexeme, Source, joined, lex
from mmsearch.query.parser import Parser, near_miss_of, whole_file
from mmsearch.query.values import Query, Term

__all__ = ["Query", "Term", "parse", "parse_filters"]


_OPERATOR = re.compile(r"\s*([+-])\s+(?=\S)")


def parse(
    query: str | Sequence[str],
    *,
    stdin: Callable[[], bytes] | None = None,
    now: datetime | None = None,
) -> Query:
    """Read a query.

    Args:
        query: A string, or the words of a command line as a shell hands them over: one that names a file is that file,
            blanks included, and any other is read as a string is.
        stdin: Reads standard input to its end; without it ``-`` is an error.
        now: What ``7d`` and ``today`` count from; the clock when None.

    Raises:
        QueryError: The query cannot be read; it says where.
    """
    if isinstance(query, str):
        source = Source(query)
        lexemes = lex(source, 0, len(query))
    else:
        source, places = joined(query)
        lexemes = []
        for start, end in places:
            if (operator := _OPERATOR.match(source.text, start, end)) is not None:  # "- leash"
                lexemes.append(Lexeme("operator", operator[1], operator.start(1), operator.end(1)))
                start = operator.end()
            lexemes += whole_file(source, start, end) or lex(source, start, end, token=True)
    return Parser(source, stdin, now).query(lexemes)


def parse_filters(text: str, *, now: datetime | None = None) -> Filters:
    """Read filters, exact words among them, without anything to look for by meaning.

    Raises:
        QueryError: They cannot be read, or there is more; it says where.
    """
    source = Source(text)
    lexemes = lex(source, 0, len(text))
    for lexeme in lexemes:
        if lexeme.kind in ("word", "operator") or lexeme.weight is not None:
            raise _unread_filter(lexeme, source)
    return Parser(source, None, now).query(lexemes).filters if lexemes else Filters()


def _unread_filter(lexeme: Lexeme, source: Source) -> QueryError:
    return near_miss_of(lexeme, source) or source.error(
        "Only filters can stand here.", lexeme.start, lexeme.end, hint="For example: type:image after:2023"
    )
