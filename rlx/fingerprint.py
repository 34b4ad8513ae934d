"""What the outcome of a compilation depends on, besides its input: part of every cache key."""

import hashlib
import importlib.util
from functools import cache
from importlib import metadata
from pathlib import Path

import rlx
from rlx import host, registry

__all__ = ["fingerprint"]


@cache
def fingerprint() -> str:
    """Changes with the version of rlx, of the MLIR host and of LLVM, and with any source file."""
    versions = [rlx.__version__, host.version(), f"llvmlite {metadata.version('llvmlite')}"]
    digest = hashlib.sha256()
    for path in sorted({*_own_files(), *_plugin_files()}):
        digest.update(path.read_bytes())
    return " ".join([*versions, digest.hexdigest()])


def _own_files() -> list[Path]:
    # Not rglob, which does not follow the links to dialects/ and passes/.
    pending, found = [Path(rlx.__file__).parent], []
    while pending:
        for path in pending.pop().iterdir():
            if path.is_dir():
                pending.append(path)
            elif path.suffix != ".pyc":
                found.append(path)
    return found


def _plugin_files() -> list[Path]:
    modules = {name.partition(":")[0] for name in (*registry.op_modules(), *registry.targets())}
    specs = [
        importlib.util.find_spec(module) for module in modules if not module.startswith("rlx.")
    ]
    return [Path(spec.origin) for spec in specs if spec is not None and spec.origin]
