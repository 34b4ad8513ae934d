"""Errors, warnings and remarks: MLIR's own diagnostics and ours, in one stream.

MLIR reports through handlers attached to a context. The Python bindings can emit errors only, and
those without notes, so what rlx's passes report travels beside them, through :func:`emit`.
:func:`capture` collects both in order of emission.

The bindings are imported when there is something to report, so that compiled code can be loaded
without them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from rlx import host

if TYPE_CHECKING:
    from rlx.host import ir

__all__ = [
    "CompileError",
    "Diagnostic",
    "Diagnostics",
    "PassFailure",
    "capture",
    "emit",
    "format_location",
    "position",
    "remark",
]

_SEVERITIES = ("error", "warning", "note", "remark")

Where: TypeAlias = "ir.Operation | ir.OpView | ir.Value | ir.Location"


@dataclass(frozen=True)
class Diagnostic:
    """One message about a place in the IR.

    Attributes:
        severity: ``"error"``, ``"warning"``, ``"note"`` or ``"remark"``.
        location: the location as MLIR prints it, without ``loc(...)``.
        message: the text, lower case, no full stop.
        notes: diagnostics attached to this one.
        position: file, line and column, where the location has them.
    """

    severity: str
    location: str
    message: str
    notes: tuple[Diagnostic, ...] = ()
    position: tuple[str, int, int] | None = None

    def __str__(self) -> str:
        head = f"{self.location}: " if self.location else ""
        lines = [f"{head}{self.severity}: {self.message}"]
        return "\n".join(lines + [str(note) for note in self.notes])


class CompileError(Exception):
    """The input cannot be compiled: carries the diagnostics that say why."""

    def __init__(self, message: str, diagnostics: tuple[Diagnostic, ...] = ()):
        super().__init__("\n".join([message, *map(str, diagnostics)]))
        self.message = message
        self.diagnostics = diagnostics


class PassFailure(Exception):
    """A pass gives up. The message is reported at ``where`` as an error, with its notes.

    Args:
        where: an operation, a value or a location.
        message: lower case, what was expected and what was found.
        notes: pairs of a place and a message.
    """

    def __init__(self, where: Where, message: str, notes: Sequence[tuple[Where, str]] = ()):
        super().__init__(message)
        self.where = where
        self.notes = tuple(notes)


@dataclass
class Diagnostics:
    """What was reported while :func:`capture` was active.

    Attributes:
        entries: the messages, in order.
        remarks: whether rlx's own remarks are wanted; others are collected always.
        listener: called with every message as it comes.
    """

    entries: list[Diagnostic] = field(default_factory=list)
    remarks: bool = True
    listener: Callable[[Diagnostic], None] | None = None

    @property
    def errors(self) -> list[Diagnostic]:
        return [entry for entry in self.entries if entry.severity == "error"]

    def add(self, diagnostic: Diagnostic) -> None:
        self.entries.append(diagnostic)
        if self.listener is not None:
            self.listener(diagnostic)

    def add_mlir_error(self, error: ir.MLIRError, fallback: str = "") -> None:
        """Adds the diagnostics that an exception of the bindings carries.

        Args:
            error: the exception.
            fallback: the message when it carries none.
        """
        carried = [_from_mlir(diagnostic) for diagnostic in error.error_diagnostics]
        for diagnostic in carried or [Diagnostic("error", "", fallback or str(error).strip())]:
            self.add(diagnostic)


_active: ContextVar[tuple[Diagnostics, ...]] = ContextVar("rlx_diagnostics", default=())


def format_location(location: ir.Location) -> str:
    """``file:line:col`` for file locations, MLIR's text otherwise."""
    text = str(location)
    if text.startswith("loc(") and text.endswith(")"):
        text = text[4:-1]
    if text == "unknown":
        return ""
    if text.startswith('"') and text.count('"') == 2:
        text = text.replace('"', "")
    return text


_FILE = re.compile(r'"((?:[^"\\]|\\.)*)":(\d+):(\d+)')


def position(location: ir.Location) -> tuple[str, int, int] | None:
    """The first file, line and column inside ``location``."""
    match = _FILE.search(str(location))
    return (match[1], int(match[2]), int(match[3])) if match else None


def _from_mlir(diagnostic: ir.Diagnostic | ir.DiagnosticInfo) -> Diagnostic:
    severity = str(diagnostic.severity).rsplit(".", 1)[-1].lower()
    return Diagnostic(
        severity if severity in _SEVERITIES else "error",
        format_location(diagnostic.location),
        str(diagnostic.message),
        tuple(_from_mlir(note) for note in diagnostic.notes),
        position(diagnostic.location),
    )


@contextlib.contextmanager
def capture(
    context: ir.Context,
    remarks: bool = True,
    listener: Callable[[Diagnostic], None] | None = None,
) -> Iterator[Diagnostics]:
    """Collects what MLIR reports on ``context`` and what rlx reports on this thread.

    Args:
        context: where MLIR reports.
        remarks: whether rlx's own remarks are wanted.
        listener: called with every message as it comes.
    """
    found = Diagnostics(remarks=remarks, listener=listener)

    def handle(diagnostic: ir.Diagnostic) -> bool:
        found.add(_from_mlir(diagnostic))
        return True

    handler = context.attach_diagnostic_handler(handle)
    token = _active.set((*_active.get(), found))
    try:
        yield found
    finally:
        _active.reset(token)
        handler.detach()


def _location(where: Where) -> ir.Location:
    return where if isinstance(where, host.ir.Location) else where.location


def _diagnostic(severity: str, where: Where, message: str, notes: Sequence = ()) -> Diagnostic:
    location = _location(where)
    attached = tuple(_diagnostic("note", place, text) for place, text in notes)
    return Diagnostic(severity, format_location(location), message, attached, position(location))


def emit(
    severity: str, where: Where, message: str, notes: Sequence[tuple[Where, str]] = ()
) -> None:
    """Reports ``message`` at an operation, a value or a location.

    Args:
        severity: ``"error"``, ``"warning"`` or ``"remark"``.
        where: the place.
        message: lower case, no full stop.
        notes: pairs of a place and a message, such as where an operand comes from.

    Outside of :func:`capture`, errors go to MLIR's handlers; the rest is dropped.
    """
    if collectors := _active.get():
        collectors[-1].add(_diagnostic(severity, where, message, notes))
    elif severity == "error":
        _location(where).emit_error(message)


def remark(where: Where, message: str, notes: Sequence[tuple[Where, str]] = ()) -> None:
    """Says why an optimisation was or was not applied. Dropped unless somebody wants to know."""
    if (collectors := _active.get()) and collectors[-1].remarks:
        emit("remark", where, message, notes)
