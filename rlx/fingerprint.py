"""What the outcome of a compilation depends on, besides its input: part of every cache key."""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from importlib import metadata

import rlx
from rlx import host, registry

__all__ = ["fingerprint"]


@cache
def fingerprint() -> str:
    """Changes with the version of rlx, of the MLIR host and of LLVM, and with any source file."""
    versions = [rlx.__version__, host.version(), f"llvmlite {metadata.version('llvmlite')}"]
    digest = hashlib.sha256()
    for path in sorted({*_own_files(), *_plugin_files()}):
        with open(path, "rb", buffering=0) as file:
            digest.update(file.read())
    return " ".join([*versions, digest.hexdigest()])


def _own_files() -> Iterator[str]:
    """The files of rlx, without what Python makes of them."""
    pending = [os.path.dirname(rlx.__file__)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if not entry.is_dir():  # follows the links to dialects/ and passes/
                    yield entry.path
                elif entry.name != "__pycache__":
                    pending.append(entry.path)


def _plugin_files() -> list[str]:
    modules = {name.partition(":")[0] for name in (*registry.op_modules(), *registry.targets())}
    specs = [
        importlib.util.find_spec(module) for module in modules if not module.startswith("rlx.")
    ]
    return [spec.origin for spec in specs if spec is not None and spec.origin]
