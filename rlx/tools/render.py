"""Diagnostics as mlir-opt prints them: the place, the message, the line and a caret."""

import re

from rlx.diagnostics import Diagnostic

__all__ = ["render"]


def render(diagnostic: Diagnostic, name: str, source: bytes, notes: bool = True) -> str:
    """The text of a diagnostic, ending in a newline.

    Args:
        diagnostic: the message.
        name: of the input; locations in ``-`` mean it as well.
        source: the input, for the lines.
        notes: whether attached notes are shown.
    """
    text = _head(diagnostic, name)
    if diagnostic.position and diagnostic.position[0] in ("-", name):
        text += _excerpt(source, *diagnostic.position[1:])
    if within := re.match(r'"([^"]+)"\(', diagnostic.location):
        text += f'note: in "{within[1]}"\n'
    if notes:
        text += "".join(render(note, name, source) for note in diagnostic.notes)
    return text


def _head(diagnostic: Diagnostic, name: str) -> str:
    what = f"{diagnostic.severity}: {diagnostic.message}\n"
    if diagnostic.position:
        file, line, column = diagnostic.position
        return f"{name if file == '-' else file}:{line}:{column}: {what}"
    return f"{diagnostic.location or '<unknown>:0'}: {what}"


def _excerpt(source: bytes, line: int, column: int) -> str:
    lines = source.split(b"\n")
    if not 0 < line <= len(lines):
        return ""
    row = lines[line - 1].rstrip(b"\r")
    if len(row) > 2000:  # a dense constant, say
        return ""
    before = row[: max(column - 1, 0)].decode(errors="replace")
    indent = "".join("\t" if char == "\t" else " " for char in before)
    return f"{row.decode(errors='replace')}\n{indent}^\n"
