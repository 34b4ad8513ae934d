"""Whether this process may use the matrix tiles of AMX."""

import ctypes
import platform
import sys
from functools import cache

__all__ = ["permitted"]

_ARCH_PRCTL, _REQUEST, _TILE_DATA = 158, 0x1023, 18  # ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA


@cache
def permitted() -> bool:
    """Asks Linux, which wants to be asked once per process, for all of its threads."""
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return False
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.argtypes = [ctypes.c_long] * 3
    syscall.restype = ctypes.c_long
    return syscall(_ARCH_PRCTL, _REQUEST, _TILE_DATA) == 0
