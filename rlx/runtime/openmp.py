"""OpenMP for compiled code: LLVM's runtime library, as packaged by ``intel-openmp``.

The library is loaded such that nothing else in the process sees its functions: other libraries may
bring an OpenMP of their own, whose functions have the same names.

Worker threads go to sleep a millisecond after the last parallel region, unless ``KMP_BLOCKTIME`` or
``OMP_WAIT_POLICY`` says otherwise; by itself the library would let them spin for 200.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["MAX_THREADS", "OpenmpError", "addresses", "is_openmp"]

MAX_THREADS = "omp_get_max_threads"

# The library of that name first: a process must not have both of them at work.
_NAMES = ("libiomp5.so", "libomp.so", "libomp.so.5")


class OpenmpError(RuntimeError):
    """The library is not there, or cannot be loaded."""


def is_openmp(symbol: str) -> bool:
    """Whether compiled code means a function of the OpenMP library."""
    return symbol.startswith(("__kmpc_", "omp_"))


def addresses(symbols: set[str]) -> dict[str, int]:
    """Where functions of the OpenMP library are; the ones that it does not have are missing.

    Raises:
        OpenmpError: there is no library.
    """
    library = _load()
    found = {}
    for symbol in symbols:
        function = getattr(library, symbol, None)
        if function is not None:
            found[symbol] = ctypes.cast(function, ctypes.c_void_p).value or 0
    return found


@cache
def _load() -> ctypes.CDLL:
    reasons = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)  # RTLD_LOCAL
        except OSError as error:
            reasons.append(str(error))
            continue
        if not {"KMP_BLOCKTIME", "OMP_WAIT_POLICY", "KMP_LIBRARY"} & set(os.environ):
            library.kmp_set_defaults(b"KMP_BLOCKTIME=1|KMP_HOT_TEAMS_MODE=1")
        return library
    detail = f" ({'; '.join(reasons)})" if reasons else ""
    raise OpenmpError(f"OpenMP is not there: install intel-openmp{detail}")


def _candidates() -> Iterator[str]:
    # Two copies in one process end it.
    yield from _loaded()
    for folder in dict.fromkeys((sys.prefix, sys.base_prefix)):
        if (path := Path(folder, "lib", _NAMES[0])).is_file():
            yield str(path)
    try:
        files = metadata.distribution("intel-openmp").files or []
    except metadata.PackageNotFoundError:
        files = []
    yield from (str(file.locate()) for file in files if file.name == _NAMES[0])
    yield from _NAMES


def _loaded() -> list[str]:
    try:
        maps = Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return []
    pattern = rf"(/.*/(?:{'|'.join(map(re.escape, _NAMES))}))$"
    return list(dict.fromkeys(re.findall(pattern, maps, re.MULTILINE)))
