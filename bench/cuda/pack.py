"""Compiles the cases and writes a folder that travels."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.cuda.cases import CASES, Case

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


def pack(folder: Path, archs: Sequence[str], cases: Sequence[Case] = CASES) -> int:
    """Writes the folder, and returns how many bytes it takes.

    Args:
        folder: where to; must not exist, or be empty.
        archs: each case is compiled for each.
        cases: what to compile.

    Raises:
        ValueError: the folder is not empty, or would be too large.
    """
    import rlx
    from rlx.runtime.cuda import save
    from rlx.targets import cuda_tools

    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    for arch in archs:
        for case in cases:
            program = rlx.compile(case.text, f"cuda:{arch}", cache=False).program
            cubin = None
            if cuda_tools.ptxas() is not None:
                cubin = cuda_tools.assemble(program.object_code.decode(), arch).cubin
            save(program, folder / "code" / arch / case.name, cubin)
    facts = {"archs": list(archs), "cases": [case.facts() for case in cases]}
    (folder / "cases.json").write_text(json.dumps(facts, indent=1))
    (folder / "run.py").write_text(_RUN)
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
