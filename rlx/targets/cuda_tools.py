"""What of CUDA's tools is installed: ptxas, and the math library. Neither is needed for PTX."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["Assembled", "AssemblyError", "KernelReport", "assemble", "libdevice", "ptxas", "tool"]


class AssemblyError(RuntimeError):
    """ptxas refused PTX."""


@dataclass(frozen=True)
class KernelReport:
    """What ptxas says about a kernel.

    Attributes:
        registers: of each thread.
        spill_stores, spill_loads: bytes that do not fit into registers.
        shared: bytes of static shared memory.
    """

    registers: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    shared: int = 0


@dataclass(frozen=True)
class Assembled:
    """Machine code for one architecture.

    Attributes:
        cubin: the code.
        kernels: reports by the names of kernels.
        warnings: what ptxas warned of.
    """

    cubin: bytes
    kernels: dict[str, KernelReport]
    warnings: tuple[str, ...] = field(default=())


def _folders() -> Iterator[Path]:
    """Where CUDA may be installed: as the environment says, as a package, in its usual place."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if folder := os.environ.get(variable):
            yield Path(folder)
    spec = importlib.util.find_spec("nvidia")
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        yield from sorted(Path(place).glob("cu*"), reverse=True)
    yield Path("/usr/local/cuda")
    yield from sorted(Path("/usr/local").glob("cuda-*"), reverse=True)


def ptxas() -> str | None:
    """The path of ptxas: from ``PATH``, ``CUDA_HOME`` or the package `nvidia-cuda-nvcc`."""
    return tool("ptxas")


def tool(name: str) -> str | None:
    """The path of a program that comes with CUDA, or None."""
    if found := shutil.which(name):
        return found
    return next((str(p) for f in _folders() if (p := f / "bin" / name).is_file()), None)


def libdevice() -> str | None:
    """The path of CUDA's math library as bitcode."""
    for folder in _folders():
        path = folder / "nvvm" / "libdevice" / "libdevice.10.bc"
        if path.is_file():
            return str(path)
    return None


@cache
def version(path: str) -> str:
    """The version that a ptxas tells."""
    found = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"V(\d+(?:\.\d+)*)", found.stdout)
    return match[1] if match else "unknown"


def assemble(ptx: str, arch: str, path: str | None = None) -> Assembled:
    """PTX to machine code.

    Args:
        ptx: the text.
        arch: as in ``"sm_90a"``.
        path: ptxas; by default the installed one.

    Raises:
        AssemblyError: there is no ptxas, or it refuses the text.
    """
    tool = path or ptxas()
    if tool is None:
        raise AssemblyError(
            "there is no ptxas on PATH or in CUDA_HOME (the package nvidia-cuda-nvcc has one)"
        )
    with tempfile.TemporaryDirectory(prefix="rlx-") as folder:
        source, target = Path(folder, "kernels.ptx"), Path(folder, "kernels.cubin")
        source.write_text(ptx)
        run = subprocess.run(
            [tool, "-v", f"-arch={arch}", "-o", str(target), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        said = run.stdout + run.stderr
        if run.returncode or not target.exists():
            raise AssemblyError(f"ptxas: {said.strip()}")
        return Assembled(target.read_bytes(), _reports(said), _warnings(said))


def _warnings(said: str) -> tuple[str, ...]:
    # Advice, such as on wgmma that had to be serialised, comes as "info (C7510)".
    lines = [line.strip() for line in said.splitlines()]
    return tuple(
        line for line in lines if "warning" in line.lower() or re.search(r"\(C\d+\)", line)
    )


def _reports(said: str) -> dict[str, KernelReport]:
    found: dict[str, KernelReport] = {}
    name, spills = "", (0, 0)
    for line in said.splitlines():
        if match := re.search(r"Compiling entry function '([^']+)'", line):
            name, spills = match[1], (0, 0)
        elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spills = int(match[1]), int(match[2])
        elif match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = KernelReport(int(match[1]), *spills, int(shared[1]) if shared else 0)
    return found
