"""Object code into the process, through LLVM's MCJIT as packaged by llvmlite."""

import ctypes
import ctypes.util
import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

from rlx.runtime import openmp
from rlx.runtime.elf import undefined_symbols
from rlx.runtime.errors import LoadError

__all__ = ["Loaded", "free"]

_lock = threading.Lock()
_llvm: Any = None

_libc = ctypes.CDLL(None)
_libc.free.argtypes = [ctypes.c_void_p]
_libc.free.restype = None
free: Callable[[int], None] = _libc.free
"""Frees what compiled code has allocated."""


def _backend() -> Any:
    global _llvm
    if _llvm is None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        # With it comes the C library.
        try:
            llvm.load_library_permanently("libm.so.6")  # of glibc; to look for it takes longer
        except RuntimeError:
            if libm := ctypes.util.find_library("m"):
                llvm.load_library_permanently(libm)
        _llvm = llvm
    return _llvm


def _add_openmp(needed: set[str]) -> None:
    """Makes functions of OpenMP known to LLVM."""
    if not needed:
        return
    try:
        found = openmp.addresses(needed)
    except openmp.OpenmpError as error:
        if openmp.MAX_THREADS not in needed:
            raise LoadError(f"the compiled code needs threads, but {error}") from None
        # Code that asks for the number of threads does not touch the rest when there is but one.
        warnings.warn(f"compiled code runs on one thread: {error}", RuntimeWarning, stacklevel=2)
        found = dict.fromkeys(needed, _one().get_function_address("one"))
    for name, address in found.items():
        _llvm.add_symbol(name, address)


@cache
def _one() -> Any:
    """Code with a function that returns 1."""
    machine = _llvm.Target.from_default_triple().create_target_machine(jit=True)
    module = _llvm.parse_assembly("define i32 @one() { ret i32 1 }")
    engine = _llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


class Loaded:
    """An object file in memory, ready to run. Keep it alive as long as its functions.

    Raises:
        LoadError: it is damaged, or needs a function that this process does not have.
    """

    def __init__(self, object_code: bytes):
        try:
            needed = undefined_symbols(object_code)
        except ValueError as error:
            raise LoadError(f"the compiled code cannot be loaded: {error}") from None
        with _lock:
            llvm = _backend()
            # LLVM would end the process at the first one that it does not find.
            needed.discard("_GLOBAL_OFFSET_TABLE_")
            _add_openmp({name for name in needed if openmp.is_openmp(name)})
            if absent := sorted(name for name in needed if not llvm.address_of_symbol(name)):
                raise LoadError(f"the compiled code needs unknown functions: {', '.join(absent)}")
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
