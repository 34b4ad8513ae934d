"""Compiles the cases and writes a folder that travels."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.cuda.cases import CASES, Case
from bench.cuda.stored import STORED, Stored

__all__ = ["MOST_BYTES", "pack"]

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 40 * 2**20
"""What the folder may take."""

_CARRIED = ("rlx/__init__.py", "rlx/dtypes.py", "rlx/runtime", "bench/__init__.py", "bench/cuda")
_RUN = '''"""Checks the kernels of this folder on a GPU, and times them; --help says more."""

import sys

from bench.cuda.run import main

if __name__ == "__main__":
    sys.exit(main())
'''
_README = """# Kernels of rlx, to be checked and timed on an NVIDIA GPU

Needs Python 3.11 or newer, NumPy, PyTorch and cuda-bindings (which PyTorch brings). Nothing is
downloaded or compiled, but by PyTorch and Triton, whose kernels are timed as well.

    python run.py --quick --limit 570 --output quick.json    # checks
    python run.py --limit 570 --output times.json            # checks and times

The first takes two or three minutes, the second about ten: with `--limit`, what has been found
until then is in the file, which is written as figures come. `--cases 'attention*,decode*'` runs
some of them; their names are:

{names}

A result that is wrong is described: which elements, what was launched, whether the code for sm_80
does better, and how arguments fare that show what part of a kernel is to blame. Small ones are
kept in the folder `quick` or `times`. `CUDA_LAUNCH_BLOCKING=1` makes a kernel that fails name
itself.

Code: {archs}; on a GPU that is newer, that of the newest one without an `a` is used.
"""


def pack(
    folder: Path,
    archs: Sequence[str],
    cases: Sequence[Case] = CASES,
    stored: Sequence[Stored] = STORED,
) -> int:
    """Writes the folder, and returns how many bytes it takes.

    Args:
        folder: where to; must not exist, or be empty.
        archs: each case is compiled for each.
        cases: what to compile.
        stored: the same, with what they result in.

    Raises:
        ValueError: the folder is not empty, or would be too large.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    facts = [_store(case, folder, archs) for case in stored]
    for case in cases:
        for arch in archs:
            _compile(case.text, arch, folder / "code" / arch / case.name)
        facts.append(case.facts())
    (folder / "cases.json").write_text(json.dumps({"archs": list(archs), "cases": facts}, indent=1))
    (folder / "run.py").write_text(_RUN)
    names = ", ".join(case["name"] for case in facts)
    (folder / "README.md").write_text(_README.format(names=names, archs=", ".join(archs)))
    ignore = shutil.ignore_patterns("__pycache__")
    for name in _CARRIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise ValueError(f"{folder} takes {size} bytes, more than {MOST_BYTES}")
    return size


def _compile(source: Any, arch: str, target: Path, **options: Any) -> None:
    import rlx
    from rlx.runtime.cuda import save
    from rlx.targets import cuda_tools

    program = rlx.compile(source, f"cuda:{arch}", cache=False, **options).program
    cubin = None
    if cuda_tools.ptxas() is not None:
        cubin = cuda_tools.assemble(program.object_code.decode(), arch).cubin
    save(program, target, cubin)


def _store(case: Stored, folder: Path, archs: Sequence[str]) -> dict[str, Any]:
    """Compiles a case, and writes its arguments and results; returns what `run.py` reads."""
    import rlx

    source, arrays = case.make()
    for arch in archs:
        _compile(source, arch, folder / "code" / arch / case.name, **case.options)
    executable = rlx.compile(source, cache=False, **case.options)
    arrays = {**getattr(source, "parameters", {}), **arrays}
    given = {spec.name: np.copy(arrays[spec.name]) for spec in executable.inputs}
    results = [np.asarray(value) for value in executable.run(given).values()]
    data = folder / "data"
    data.mkdir(exist_ok=True)
    named = {f"result {n}": value for n, value in enumerate(results)}
    np.savez_compressed(data / f"{case.name}.npz", **arrays, **named)
    return case.facts(len(results))
