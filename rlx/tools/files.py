"""Reading inputs and writing outputs of the tools."""

import contextlib
import os
import stat
import sys
from pathlib import Path

__all__ = ["FileError", "is_regular", "read_input", "unfinished", "write_output"]


class FileError(Exception):
    """A file cannot be read or written; the message names it."""


def is_regular(path: str) -> bool:
    """Whether ``path`` can be read twice: not a pipe, not ``-``."""
    return path != "-" and os.path.isfile(path)


def read_input(path: str) -> bytes:
    """The bytes of a file, or of stdin for ``-``.

    Raises:
        FileError: it cannot be read.
    """
    try:
        if path != "-":
            return Path(path).read_bytes()
        if sys.stdin is None:
            raise FileError("cannot read stdin: it is closed")
        return sys.stdin.buffer.read()
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise FileError(f"cannot open input file '{path}': {_reason(error)}") from None


def unfinished(path: str) -> str:
    """A name beside ``path`` to write under until all is written."""
    return f"{path}.unfinished-{os.getpid()}"


def write_output(path: str, data: bytes) -> None:
    """Writes a file whole or not at all, or stdout for ``-``.

    Raises:
        FileError: it cannot be written.
    """
    if path == "-":
        _write_stdout(data)
        return
    try:
        target = os.path.realpath(path)
        if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            with open(target, "wb") as stream:  # a device or a pipe
                stream.write(data)
            return
        beside = unfinished(target)
        try:
            with open(beside, "xb") as stream:
                stream.write(data)
            if os.path.exists(target):
                os.chmod(beside, stat.S_IMODE(os.stat(target).st_mode))
            os.replace(beside, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
    except (OSError, ValueError) as error:
        raise FileError(f"cannot write output file '{path}': {_reason(error)}") from None


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise FileError("cannot write to stdout: it is closed")
    try:
        if hasattr(sys.stdout, "buffer"):
            rest = memoryview(data)
            while rest:  # without a buffer (python -u) a pipe may take a part only
                rest = rest[sys.stdout.buffer.write(rest) or 0 :]
        else:  # something that only takes text stands in its place
            sys.stdout.write(data.decode(errors="replace"))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(f"cannot write to stdout: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
