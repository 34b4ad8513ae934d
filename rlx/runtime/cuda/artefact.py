"""A compiled program as a folder: ``manifest.json``, ``kernels.ptx``, perhaps ``kernels.cubin``."""

from pathlib import Path

from rlx.runtime.cuda.executable import CudaExecutable
from rlx.runtime.errors import LoadError
from rlx.runtime.program import Program

__all__ = ["CUBIN", "MANIFEST", "PTX", "load", "save"]

MANIFEST, PTX, CUBIN = "manifest.json", "kernels.ptx", "kernels.cubin"


def save(program: Program, folder: str | Path, cubin: bytes | None = None) -> list[Path]:
    """Writes a program to a folder, which is made when needed; returns the files.

    Args:
        program: one for a GPU.
        folder: where to.
        cubin: machine code for the same kernels, if there is any.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = {MANIFEST: program.manifest(indent=1).encode(), PTX: program.object_code}
    if cubin is not None:
        files[CUBIN] = cubin
    else:
        (target / CUBIN).unlink(missing_ok=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
    return [target / name for name in files]


def load(folder: str | Path, device: int = 0) -> CudaExecutable:
    """The program in a folder. The GPU is needed at the first call only.

    Args:
        folder: what :func:`save` or ``rlx-compile`` has written.
        device: the number of the GPU to run on.

    Raises:
        LoadError: there is no such folder, or what lies in it is something else.
    """
    source = Path(folder)
    machine_code = source / CUBIN
    try:
        manifest = (source / MANIFEST).read_text(encoding="utf-8")
        program = Program.from_manifest(manifest, (source / PTX).read_bytes())
        cubin = machine_code.read_bytes() if machine_code.is_file() else None
    except OSError as error:
        raise LoadError(f"cannot load {source}: {error.strerror}: {error.filename}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"cannot load {source}: {MANIFEST} is damaged: {error}") from None
    return CudaExecutable(program, device, cubin=cubin)
