"""Passes and pipelines of the MLIR host: whether they exist, on which op they run, their options.

The host's own parser decides. ``upstream_passes.json`` (written by
``utils/probe_upstream_passes.py``) adds what it does not tell: the list of names, for suggestions;
the names of classes, for dumps; and which names are pipelines, for a pipeline that is nested in the
wrong op ends the process.
"""

import contextlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlx import host, options
from rlx.host import ir, passmanager

__all__ = [
    "UnknownPass",
    "UpstreamPass",
    "class_name",
    "dialects",
    "is_op",
    "isolated",
    "names",
    "option_names",
    "resolve",
]

_NOWHERE = "rlx.nowhere"  # the name of no op


class UnknownPass(LookupError):
    """The host has no pass or pipeline of that name."""


@dataclass(frozen=True)
class UpstreamPass:
    """A pass or pipeline of the host.

    Attributes:
        anchor: the op it runs on; None when it is any.
        on_module: False when it is known to run on functions only.
    """

    anchor: str | None
    on_module: bool = True


@cache
def _hosts() -> list[dict[str, Any]]:
    """The entry of the running host; all entries when it has none."""
    path = Path(__file__).with_name("upstream_passes.json")
    hosts = json.loads(path.read_text(encoding="utf-8"))
    return [hosts[host.PREFIX]] if host.PREFIX in hosts else list(hosts.values())


@cache
def _table() -> dict[str, dict[str, Any]]:
    return {name: known for entry in _hosts() for name, known in entry["passes"].items()}


def dialects() -> list[str]:
    """Names of the host's dialects, as far as they are listed."""
    return sorted({name for entry in _hosts() for name in entry["dialects"]})


def names() -> list[str]:
    """Names of passes and pipelines, as far as they are listed."""
    return list(_table())


def option_names(name: str) -> list[str]:
    """Names of the options of a listed pass."""
    return list(_table().get(name, {}).get("options", ()))


def class_name(name: str) -> str:
    """The name of the C++ class, or one in its style when it is not listed."""
    camel = "".join(part.capitalize() for part in name.split("-"))
    return _table().get(name, {}).get("class") or camel


@cache
def resolve(name: str, text: str = "") -> UpstreamPass:
    """What ``name{text}`` is.

    Raises:
        UnknownPass: there is no such pass.
        options.OptionError: an option is unknown or has a bad value.
    """
    if not _braces_balance(text):
        raise options.OptionError(f"options of '{name}': unbalanced braces")
    braces = f"{{{text}}}" if text else ""
    with _context():
        try:
            with _stderr_of_host() if text else contextlib.nullcontext(_Noise()) as noise:
                manager = passmanager.PassManager.parse(f"any({name}{braces})")
        except ValueError as error:
            raise _explain(name, text, f"{noise.text}\n{error}") from None
        entry = _table().get(name)
        # Only a name that the table does not know is printed: of some passes, that crashes.
        is_pipeline = "pipeline" in entry if entry else not str(manager).startswith(f"any({name}")
        if is_pipeline:
            return UpstreamPass(entry["anchor"] if entry else "builtin.module")
        try:
            passmanager.PassManager.parse(f"{_NOWHERE}({name}{braces})")
        except ValueError as error:
            if restricted := re.search(r"restricted to '([^']+)'", str(error)):
                return UpstreamPass(restricted[1])
        return UpstreamPass(None, entry is None or entry.get("on_module", True))


def _braces_balance(text: str) -> bool:
    """Whether the host, which knows no quotes here, finds the same end of the options as we do."""
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def is_op(name: str) -> bool:
    """Whether ``name`` is that of a registered op, in the current context or in the host."""
    namespace, dot, _ = name.partition(".")
    if not dot:
        return False
    for context in filter(None, (ir.Context.current, _own_context())):
        with contextlib.suppress(ValueError):
            context.get_dialect_descriptor(namespace)
            if context.is_registered_operation(name):
                return True
    return False


def _explain(name: str, text: str, message: str) -> Exception:
    if f"'{name}' does not refer to a registered pass" in message:
        return UnknownPass(name)
    if unknown := re.search(r"no such option (\S+)", message):
        offset = options.offset_of(text, unknown[1])
        return options.unknown_option(name, unknown[1], option_names(name), offset)
    if invalid := re.search(r"for the --(\S+) option: (.*?)!?\s*$", message, re.MULTILINE):
        return options.OptionError(
            f"option '{invalid[1]}' of '{name}': {invalid[2]}", options.offset_of(text, invalid[1])
        )
    # A pipeline as the value of an option has an error of its own.
    inner = re.search(r"error: (.*)", message)
    lines = [line for line in message.splitlines() if line.strip()]
    return options.OptionError(f"options of '{name}': {inner[1] if inner else lines[0].strip()}")


def isolated(op: ir.Operation) -> bool:
    """Whether a pass may run on ``op``: registered, and isolated from above."""
    manager = passmanager.PassManager.parse(f"any({_NOWHERE}(cse))", op.context)
    try:
        manager.run(op)
    except ir.MLIRError:
        return False
    return True


@contextlib.contextmanager
def _context() -> Iterator[None]:
    """A context to parse pipelines in: the current one, else one of our own."""
    if ir.Context.current is not None:
        yield
    else:
        with _own_context():
            yield


@cache
def _own_context() -> ir.Context:
    return ir.Context()


@dataclass
class _Noise:
    text: str = ""


_stderr_lock = threading.Lock()


@contextlib.contextmanager
def _stderr_of_host() -> Iterator[_Noise]:
    """Keeps what the host's option parser writes to the process's stderr: bad values go there."""
    noise = _Noise()
    with _stderr_lock, tempfile.TemporaryFile() as file:
        try:
            saved = os.dup(2)
        except OSError:  # stderr is closed
            yield noise
            return
        os.dup2(file.fileno(), 2)
        try:
            yield noise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            noise.text = file.read().decode(errors="replace")
