"""Words of the command line -> the types that the commands declare, without pydantic.

typer hands every value to pydantic, whose import costs a cold query a tenth of a second, to turn "10" into 10. A
parameter keeps its converter in an attribute, so putting a plain one there is enough. A typer that knows no such
attribute converts by itself, only more slowly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["PlainCommand", "PlainGroup"]

_ATTRIBUTE = "_runtime_param"
_PLAIN = (str, int, float, bool, Path)


class PlainCommand(TyperCommand):
    """A command whose parameters are words, numbers, paths and flags."""

    def get_params(self, ctx: Any) -> Any:
        """Its parameters, the help option among them."""
        return _plain(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read its arguments; an error knows the command that it belongs to."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", self) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise


class PlainGroup(TyperGroup):
    """A group of commands whose own parameters are words, numbers, paths and flags."""

    def get_params(self, ctx: Any) -> Any:
        """Its parameters, the help option among them."""
        return _plain(super().get_params(ctx))


def _plain(parameters: Any) -> Any:
    """Give parameters of plain types plain converters; returns the parameters."""
    for parameter in parameters:
        annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
        kind = next(iter(get_args(annotation)), annotation)
        if kind in _PLAIN and getattr(parameter, _ATTRIBUTE, kind) is None:
            setattr(parameter, _ATTRIBUTE, _Converter(kind))
    return parameters


class _Converter:
    """Turns the words given for one parameter into values of one type."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Convert a word, or each of several; None stays None, or an empty tuple where there can be several."""
        if param.multiple or param.nargs == -1:
            return () if value is None else [self._one(word, param, ctx) for word in value]
        return None if value is None else self._one(value, param, ctx)

    def _one(self, word: Any, param: Any, ctx: Any) -> Any:
        if isinstance(word, self._kind):
            return word
        try:
            return self._kind(word)
        except ValueError:
            number = "a whole number" if self._kind is int else "a number"
            raise typer.BadParameter(f"{word!r} is not {number}.", ctx=ctx, param=param) from None
