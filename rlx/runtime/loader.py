"""Object code into the process, through LLVM's MCJIT as packaged by llvmlite."""

import ctypes
import ctypes.util
import threading
from collections.abc import Callable

import llvmlite.binding as llvm

from rlx.runtime.errors import LoadError

__all__ = ["Loaded", "free"]

_lock = threading.Lock()
_ready = False

_libc = ctypes.CDLL(None)
free: Callable[[int], None] = _libc.free
_libc.free.argtypes = [ctypes.c_void_p]
_libc.free.restype = None


def _prepare() -> None:
    global _ready
    if not _ready:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        libm = ctypes.util.find_library("m")
        if libm:
            llvm.load_library_permanently(libm)
        _ready = True


class Loaded:
    """An object file in memory, ready to run. Keep it alive as long as its functions."""

    def __init__(self, object_code: bytes):
        with _lock:
            _prepare()
            try:
                machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
                self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
                self._engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
                self._engine.finalize_object()
            except RuntimeError as error:
                raise LoadError(f"the compiled code cannot be loaded: {error}") from None

    def address(self, symbol: str) -> int:
        """The address of a function.

        Raises:
            LoadError: there is none of that name.
        """
        with _lock:
            address = self._engine.get_function_address(symbol)
        if not address:
            raise LoadError(f"the compiled code has no function '{symbol}'")
        return address
