"""Kernels in the LLVM dialect to PTX."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlx import host
from rlx.diagnostics import CompileError, Diagnostic, format_location
from rlx.host import ir
from rlx.passes.base import walk
from rlx.schedules.cuda.arch import Arch
from rlx.targets import cuda_tools

__all__ = ["ptx"]

_SUPPORTED = ("llvm.", "nvvm.")
_KERNEL = "nvvm.kernel"
_VERSION = "ptx80"  # of PTX: the first one with all of Hopper, taken by drivers since CUDA 12.0
_TIMEOUT = 600  # seconds


def ptx(module: ir.Module, arch: Arch, opt_level: int = 3) -> str:
    """The PTX of all kernels of a module.

    LLVM runs in a process of its own. If that ends early, the kernels are tried one by one, and the
    error names the first that does it and a file that reproduces it.

    Args:
        module: a module whose `gpu.module` is in the LLVM and NVVM dialects; not changed.
        arch: what the code is for.
        opt_level: LLVM's optimisation level, 0 to 3.

    Raises:
        CompileError: the kernels hold something else, or LLVM refuses them.
    """
    functions = _functions(module)
    if not functions:
        return ""
    _check(functions)
    request = _request(functions, arch, opt_level)
    found, problem = _run(request)
    if not problem:
        return found
    for function in functions:
        if _KERNEL not in function.attributes:
            continue
        others = [f for f in functions if _KERNEL not in f.attributes]
        alone = _request([*others, function], arch, opt_level)
        _, reason = _run(alone)
        if reason:
            raise _failure(_name(function), reason, alone)
    raise _failure("", problem, request)


def _functions(module: ir.Module) -> list[ir.Operation]:
    """Everything in the `gpu.module`s: functions, and what they refer to."""
    return [
        inner.operation
        for op in module.body.operations
        if op.operation.name == "gpu.module"
        for inner in op.operation.regions[0].blocks[0].operations
    ]


def _name(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["sym_name"]).value


def _check(functions: Sequence[ir.Operation]) -> None:
    """Translation to LLVM IR ends the process at ops of other dialects."""
    found = []
    for function in functions:
        for op in walk(function):
            name = op.operation.name
            if not name.startswith(_SUPPORTED):
                text = f"in kernel '{_name(function)}': '{name}' op has no lowering for a GPU"
                found.append(Diagnostic("error", format_location(op.location), text))
    if found:
        # Casts are left where something else could not be lowered.
        others = [e for e in found if "unrealized_conversion_cast" not in e.message]
        raise CompileError("the module cannot be compiled for a GPU", tuple(others or found))


def _request(functions: Sequence[ir.Operation], arch: Arch, opt_level: int) -> dict[str, Any]:
    with functions[0].context, ir.Location.unknown():
        alone = ir.Module.create()
        for function in functions:
            alone.body.append(function.clone().operation)
        text = alone.operation.get_asm(enable_debug_info=False)
    return {
        "mlir": text,
        "arch": arch.name,
        "ptx": _VERSION,
        "opt_level": opt_level,
        "library": cuda_tools.libdevice(),
    }


def _run(request: dict[str, Any]) -> tuple[str, str]:
    """The PTX, or what went wrong."""
    environment = {**os.environ, "RLX_MLIR": host.PREFIX}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [root, environment.get("PYTHONPATH", "")])
    )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rlx.targets.nvptx_worker"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=environment,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"LLVM did not end within {_TIMEOUT} s"
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = [line for line in lines if "error" in line.lower()] or lines[-1:]
        shown = "; ".join(told[:3]) or f"exit code {done.returncode}"
        return "", f"LLVM ended the process: {shown}"
    answer = json.loads(done.stdout)
    return answer.get("ptx", ""), answer.get("error", "")


def _failure(kernel: str, reason: str, request: dict[str, Any]) -> CompileError:
    folder = tempfile.mkdtemp(prefix="rlx-reproducer-")
    path = Path(folder, f"{kernel or 'kernels'}.json")
    path.write_text(json.dumps(request))
    what = f"kernel '{kernel}'" if kernel else "the kernels"
    note = Diagnostic(
        "note", "", f"to reproduce: {sys.executable} -m rlx.targets.nvptx_worker {path}"
    )
    return CompileError(f"{what} cannot be compiled for a GPU: {reason}", (note,))
