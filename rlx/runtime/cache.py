"""Compiled programs on disk and in memory.

One file a program, named by its key. Files are written under another name and then renamed, so
that readers never see half of one; each carries a checksum, and one that does not match counts as
absent. When the folder outgrows its limit, the files that were used least recently go.

The folder is ``RLX_CACHE_DIR``, or ``rlx`` in ``XDG_CACHE_HOME``, or ``~/.cache/rlx``;
``RLX_CACHE_SIZE`` is its limit in MiB (default 1024). One that cannot be written to costs a warning
and no more.
"""

import contextlib
import hashlib
import os
import tempfile
import threading
import warnings
from collections import OrderedDict
from pathlib import Path

from rlx.runtime.loader import Loaded
from rlx.runtime.program import Program

__all__ = ["DiskCache", "MemoryCache", "default_folder"]

_MAGIC = b"rlx program 1\n"
_SUFFIX = ".rlxc"
_DEFAULT_LIMIT = 1024  # MiB


def default_folder() -> Path:
    """Where programs are kept unless someone says otherwise.

    Raises:
        RuntimeError: the user has no home.
    """
    if folder := os.environ.get("RLX_CACHE_DIR"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rlx"


def _limit() -> int:
    try:
        return int(os.environ.get("RLX_CACHE_SIZE", _DEFAULT_LIMIT)) * 2**20
    except ValueError:
        return _DEFAULT_LIMIT * 2**20


class DiskCache:
    """Programs in a folder, shared by all processes that use it."""

    _warned = False

    def __init__(self, folder: Path | str | None = None, limit: int | None = None):
        """Args:
        folder: created when needed.
        limit: how many bytes may lie in it.
        """
        self.folder = Path(folder) if folder is not None else default_folder()
        self.limit = _limit() if limit is None else limit

    def _path(self, key: str) -> Path:
        return self.folder / (key + _SUFFIX)

    def get(self, key: str) -> Program | None:
        """The program stored under ``key``, or None."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return _decode(content)

    def put(self, key: str, program: Program) -> None:
        """Stores a program. Failing to do so is no error."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_encode(program))
                os.replace(name, self._path(key))
            except BaseException:
                os.unlink(name)
                raise
            self._prune()
        except OSError as error:
            if not DiskCache._warned:
                DiskCache._warned = True
                warnings.warn(
                    f"compiled code is not cached: {error} (set RLX_CACHE_DIR)", stacklevel=2
                )

    def _prune(self) -> None:
        files = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((_SUFFIX, ".tmp")):
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                files.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _encode(program: Program) -> bytes:
    manifest = program.manifest().encode()
    body = len(manifest).to_bytes(8, "little") + manifest + program.object_code
    return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(content: bytes) -> Program | None:
    magic, digest, body = content[:14], content[14:46], content[46:]
    if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
        return None
    length = int.from_bytes(body[:8], "little")
    return Program.from_manifest(body[8 : 8 + length].decode(), body[8 + length :])


class MemoryCache:
    """The programs that this process used most recently, loaded."""

    def __init__(self, limit: int = 64):
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Program, Loaded | None]] = OrderedDict()

    def get(self, key: str) -> tuple[Program, Loaded | None] | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: str, program: Program, loaded: Loaded | None) -> None:
        with self._lock:
            self._entries[key] = (program, loaded)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)
