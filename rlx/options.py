"""Options of passes and pipelines: dataclass fields to text and back.

The text has MLIR's grammar: ``{flag=true list=1,2 name="a b" nested={...}}``. A field
``keep_repeat`` is spelled ``keep-repeat``. Types: ``bool``, ``int``, ``float``, ``str``,
``Literal``, ``tuple[T, ...]`` and ``T | None`` (spelled ``none``).

Quotes and braces keep blanks and commas together. Quotes are dropped wherever they stand, as in a
shell; braces when they enclose the whole value.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

__all__ = [
    "OptionError",
    "describe",
    "offset_of",
    "option",
    "parse",
    "render",
    "skip_group",
    "unknown_option",
]

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


def unknown_option(owner: str, key: str, known: Iterable[str], offset: int = 0) -> OptionError:
    """The error for an option that ``owner`` does not have."""
    names = list(known)
    near = difflib.get_close_matches(key, names, 1)
    listed = ", ".join(f"'{name}'" for name in names) or "none"
    hint = f"did you mean '{near[0]}'?" if near else f"its options: {listed}"
    return OptionError(f"'{owner}' has no option '{key}'; {hint}", offset)


# -- text --------------------------------------------------------------------------------------


def skip_group(text: str, at: int) -> int:
    """The end of the quoted or braced group that begins at ``at``; ``at`` when none begins there.

    A quote without its partner is a character like any other. A brace without its partner has no
    end: -1.
    """
    if text[at] in "\"'":
        return text.find(text[at], at + 1) + 1 or at
    if text[at] != "{":
        return at
    depth = 0
    while at < len(text):
        if text[at] in "\"'":
            at = text.find(text[at], at + 1) + 1 or at + 1
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        at += 1
        if depth == 0:
            return at
    return -1


def _split(text: str, separators: str) -> list[tuple[str, int]]:
    """(piece, offset) between separators that stand outside of quotes and braces."""
    pieces, start, at = [], 0, 0
    while at < len(text):
        if text[at] in separators:
            pieces.append((text[start:at], start))
            start = at = at + 1
            continue
        after = skip_group(text, at)
        if after < 0 or text[at] == "}":
            raise OptionError(f"unbalanced braces in '{text}'", at)
        at = max(after, at + 1)
    return [*pieces, (text[start:], start)]


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """Splits ``a=1 b={c=2}`` into (key, value, offset); a bare key has value "true"."""
    found = []
    for token, offset in _split(text, " \t\n\r\f\v"):
        if token:
            key, equals, value = token.partition("=")
            found.append((key, value if equals else "true", offset))
    return found


def offset_of(text: str, key: str) -> int:
    """Where option ``key`` stands in option text; 0 when it does not."""
    match = re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text)
    return match.start() if match else 0


def _unbrace(value: str) -> str:
    if value.startswith("{") and skip_group(value, 0) == len(value):
        return value[1:-1]
    return value


def _unquote(value: str) -> str:
    parts, at = [], 0
    while at < len(value):
        after = skip_group(value, at) if value[at] in "\"'" else at
        parts.append(value[at + 1 : after - 1] if after > at else value[at])
        at = max(after, at + 1)
    return "".join(parts)


# -- values ------------------------------------------------------------------------------------


def _convert(value: str, type_: Any) -> Any:
    """The value of type ``type_``; ValueError says what was expected."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        if value == "none":
            return None
        return _convert(value, next(a for a in args if a is not type(None)))
    if origin is tuple:
        body = _unbrace(value)
        return (
            tuple(_convert(item.strip(), args[0]) for item, _ in _split(body, ",")) if body else ()
        )
    plain = _unquote(_unbrace(value))
    if origin is typing.Literal:
        for choice in args:
            if plain == str(choice):
                return choice
        raise ValueError("one of " + ", ".join(map(str, args)))
    if type_ is str:
        return plain
    if type_ is bool:
        if plain not in ("true", "false", "1", "0"):
            raise ValueError("true or false")
        return plain in ("true", "1")
    if type_ is int:
        if not re.fullmatch(r"[+-]?[0-9]+", plain):
            raise ValueError("an integer")
        return int(plain)
    if type_ is float:
        try:
            return float(plain)
        except ValueError:
            raise ValueError("a number") from None
    raise TypeError(f"options of type {type_} are not supported")


def parse(cls: type[T], text: str, owner: str) -> T:
    """An instance of the dataclass ``cls`` from option text without the outer braces.

    An option that is given twice takes the last value.

    Raises:
        OptionError: naming ``owner``, the option, and what was probably meant.
    """
    fields = _fields(cls)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value, offset in _tokens(text):
        if key not in fields:
            raise unknown_option(owner, key, fields, offset)
        name = fields[key].name
        try:
            values[name] = _convert(value, hints[name])
        except OptionError as error:
            raise OptionError(str(error), offset) from None
        except ValueError as error:
            raise OptionError(
                f"option '{key}' of '{owner}' must be {error}, but got '{value}'", offset
            ) from None
    for key, field in fields.items():
        if field.name not in values and _default(field) is dataclasses.MISSING:
            raise OptionError(f"'{owner}' requires option '{key}'")
    try:
        return cls(**values)
    except ValueError as error:  # the dataclass checks what its types do not say
        raise OptionError(f"options of '{owner}': {error}") from None


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _fields(cls: Any) -> dict[str, dataclasses.Field]:
    return {f.name.replace("_", "-"): f for f in dataclasses.fields(cls) if f.init}


def _quoted(text: str) -> str:
    if text and not re.search(r"[\s{}=,\"']", text) and text != "none":
        return text
    # MLIR has no escapes: each kind of quote is kept in quotes of the other kind.
    parts = re.findall(r'[^"]+|"+', text) or [""]
    return "".join(f"'{part}'" if part[0:1] == '"' else f'"{part}"' for part in parts)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return _quoted(value) if isinstance(value, str) else str(value)


def render(instance: Any) -> str:
    """The options that differ from their defaults, braces included; "" when none does."""
    parts = [
        f"{key}={_text(getattr(instance, f.name))}"
        for key, f in _fields(instance).items()
        if getattr(instance, f.name) != _default(f)
    ]
    return "{" + " ".join(parts) + "}" if parts else ""


def _type_text(type_: Any) -> str:
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _type_text(a) for a in args)
    if origin is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in args)
    if origin is tuple:
        return f"list of {_type_text(args[0])}"
    return {bool: "bool", int: "int", float: "float", str: "string"}.get(type_, str(type_))


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """(spelling, type, default, doc) of every option."""
    hints = typing.get_type_hints(cls)
    return [
        (
            key,
            _type_text(hints[f.name]),
            "" if _default(f) is dataclasses.MISSING else _text(_default(f)),
            f.metadata.get("doc", ""),
        )
        for key, f in _fields(cls).items()
    ]
