"""The LLVM dialect to machine code.

LLVM ends the process when it meets what it cannot handle, so a module is looked at first: only ops
of the LLVM dialect, and no external function but those of the C runtime and the math library. There
may be ops of the OpenMP dialect, but only what `rlx-cpu-parallel-to-openmp` makes.
"""

import ctypes
import os

from rlx.diagnostics import CompileError, Diagnostic, capture, format_location
from rlx.host import execution_engine, interrupts_wait, ir
from rlx.passes.base import types_of, types_within

__all__ = ["EXTERNAL_FUNCTIONS", "object_code"]

_MATH = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1
    fabs floor fma fmod log log10 log1p log2 pow rint round roundeven sin sinh sqrt tan tanh trunc
"""

EXTERNAL_FUNCTIONS = frozenset(
    ["aligned_alloc", "free", "madvise", "malloc", "memcpy", "memmove", "memset"]
    + ["omp_get_max_threads", "omp_get_num_threads", "omp_get_thread_num"]
    + ["syscall"]
    + [name + suffix for name in _MATH.split() for suffix in ("", "f")]
)
"""What compiled code may call outside of itself."""


_OTHER_OPS = {"builtin.module", "omp.parallel", "omp.terminator"}
_OPENMP = """
    __kmpc_fork_call __kmpc_global_thread_num __kmpc_push_num_threads
    omp_get_max_threads omp_get_num_threads omp_get_thread_num
"""

_ANYWHERE = 1

# LLVM reports errors in assembly to nobody.
_REFUSED = {"llvm.inline_asm"}


def object_code(module: ir.Module, function: str, opt_level: int) -> bytes:
    """A relocatable object file for this machine.

    Args:
        module: a module in the LLVM dialect; not changed.
        function: one of its functions that has a C interface.
        opt_level: LLVM's optimisation level, 0 to 3.

    Raises:
        CompileError: the module holds something else, or LLVM refuses it.
    """
    _check(module)
    # In memory: LLVM ends the process where a disk is full.
    with os.fdopen(os.memfd_create("rlx"), "rb") as code, capture(module.context) as found:
        try:
            engine = execution_engine.ExecutionEngine(
                module, opt_level=opt_level, enable_object_dump=True, enable_pic=True
            )
            for name in _OPENMP.split():
                # The engine links what is never run here.
                engine.raw_register_runtime(name, ctypes.c_void_p(_ANYWHERE))
            engine.raw_lookup(f"_mlir_ciface_{function}")
            engine.dump_to_object_file(f"/proc/self/fd/{code.fileno()}")
        except (RuntimeError, ir.MLIRError) as error:
            raise CompileError(f"LLVM: {error}", tuple(found.entries)) from None
        made = code.read()
    if not made:
        raise CompileError("LLVM made no code", tuple(found.entries))
    return made


@interrupts_wait()
def _check(module: ir.Module) -> None:
    found = []
    scalable = {type_ for type_ in types_within(module.operation) if "vector<[" in str(type_)}

    def visit(op: ir.Operation) -> ir.WalkResult:
        name = op.name
        if name in _REFUSED:
            found.append(_error(op, f"'{name}' op is not supported on the CPU"))
        elif scalable and not scalable.isdisjoint(types_of(op)):
            found.append(_error(op, f"'{name}' op has vectors of unknown size"))
        elif not name.startswith("llvm.") and name not in _OTHER_OPS:
            found.append(_error(op, f"'{name}' op has no lowering for the CPU"))
        elif name == "llvm.func" and len(op.regions[0].blocks) == 0:
            symbol = ir.StringAttr(op.attributes["sym_name"]).value
            if symbol not in EXTERNAL_FUNCTIONS and not symbol.startswith("llvm."):
                found.append(_error(op, f"function '{symbol}' is declared but has no body"))
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if found:
        # Casts are left where something else could not be lowered.
        casts = [e for e in found if "unrealized_conversion_cast" in e.message]
        found = [e for e in found if e not in casts] or casts
        raise CompileError("the module cannot be compiled for the CPU", tuple(found))


def _error(op: ir.Operation, message: str) -> Diagnostic:
    return Diagnostic("error", format_location(op.location), message)
