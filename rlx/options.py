"""Options of passes and pipelines: dataclass fields to text and back.

The text has MLIR's grammar: ``{flag=true list=1,2 name="a b" nested={...}}``. A field
``keep_repeat`` is spelled ``keep-repeat``.
"""

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

__all__ = ["OptionError", "describe", "option", "parse", "render"]

T = TypeVar("T")


class OptionError(ValueError):
    """An option is unknown or its value has the wrong form.

    Attributes:
        offset: where in the option text, in characters.
    """

    def __init__(self, message: str, offset: int = 0):
        super().__init__(message)
        self.offset = offset


def option(default: Any, doc: str) -> Any:
    """A dataclass field that is an option. ``default`` must be immutable."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def _spelling(name: str) -> str:
    return name.replace("_", "-")


def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {_spelling(f.name): f for f in dataclasses.fields(cls)}


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Splits ``a=1 b={c=2}`` into (key, value, offset); a bare key has value "true"."""
    found = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start, depth, quote = at, 0, ""
        while at < len(text) and (quote or depth or not text[at].isspace()):
            char = text[at]
            if quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            else:
                depth += (char in "{[") - (char in "}]")
            at += 1
        if quote or depth:
            raise OptionError(f"unbalanced quotes or braces in '{text[start:]}'", start)
        key, equals, value = text[start:at].partition("=")
        found.append((key, value if equals else "true", start))
    return found


def _strip(value: str) -> str:
    for opening, closing in ('""', "''", "{}"):
        if len(value) >= 2 and value[0] == opening and value[-1] == closing:
            return value[1:-1]
    return value


def _convert(value: str, type_: Any) -> Any:
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return _convert(value, next(a for a in args if a is not type(None)))
    if origin is typing.Literal:
        if value not in args:
            raise ValueError("one of " + ", ".join(args))
        return value
    if origin is tuple:
        return tuple(_convert(item, args[0]) for item in _strip(value).split(",") if item)
    if type_ is bool:
        if value not in ("true", "false", "1", "0"):
            raise ValueError("true or false")
        return value in ("true", "1")
    if type_ is str:
        return _strip(value)
    try:
        return type_(value)
    except ValueError:
        raise ValueError({int: "an integer", float: "a number"}[type_]) from None


def parse(cls: type[T], text: str, owner: str) -> T:
    """An instance of the dataclass ``cls`` from option text without the outer braces.

    Raises:
        OptionError: naming ``owner``, the option, and what was probably meant.
    """
    fields = _fields(cls)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value, offset in _tokens(text):
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            known = ", ".join(f"'{name}'" for name in fields) or "none"
            hint = f"; did you mean '{near[0]}'?" if near else f"; its options: {known}"
            raise OptionError(f"'{owner}' has no option '{key}'{hint}", offset)
        name = fields[key].name
        try:
            values[name] = _convert(value, hints[name])
        except ValueError as error:
            raise OptionError(
                f"option '{key}' of '{owner}' must be {error}, but got '{value}'", offset
            ) from None
    return cls(**values)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    text = str(value)
    return f'"{text}"' if any(c.isspace() or c in "{}=," for c in text) or not text else text


def render(instance: Any) -> str:
    """The options that differ from their defaults, braces included; "" when none does."""
    parts = [
        f"{_spelling(f.name)}={_text(getattr(instance, f.name))}"
        for f in dataclasses.fields(instance)
        if getattr(instance, f.name) != f.default
    ]
    return "{" + " ".join(parts) + "}" if parts else ""


def describe(cls: type) -> list[tuple[str, str, str]]:
    """(spelling, default, doc) of every option."""
    return [
        (_spelling(f.name), _text(f.default), f.metadata.get("doc", ""))
        for f in dataclasses.fields(cls)
    ]
