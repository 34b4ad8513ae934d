"""Names of passes, pipelines and ops, and where they live.

Built-in names map to ``module:attribute`` and are imported on first use. Other packages add theirs
through the entry point group ``rlx.plugins``: each entry point names a function that takes this
module and calls :func:`add_pass`, :func:`add_pipeline` and :func:`add_op_module`.
"""

import importlib
from functools import cache
from importlib import metadata
from typing import Any

__all__ = [
    "add_op_module",
    "add_pass",
    "add_pipeline",
    "op_modules",
    "pass_class",
    "pass_names",
    "pipeline_class",
    "pipeline_names",
    "targets",
]

_OP_MODULES = [
    "rlx.dialects.matmul",
    "rlx.dialects.narrow",
    "rlx.dialects.concat",
    "rlx.dialects.rms_norm",
    "rlx.dialects.layer_norm",
    "rlx.dialects.embedding",
    "rlx.dialects.glu",
    "rlx.dialects.kv_append",
    "rlx.dialects.rope",
    "rlx.dialects.attention",
]

_PASSES = {
    "rlx-fuse-norm": "rlx.passes.fuse_norm:FuseNorm",
    "rlx-fuse-glu": "rlx.passes.fuse_glu:FuseGlu",
    "rlx-fuse-qkv": "rlx.passes.fuse_qkv:FuseQkv",
    "rlx-fuse-partial-rotary": "rlx.passes.fuse_partial_rotary:FusePartialRotary",
    "rlx-fuse-gqa": "rlx.passes.fuse_gqa:FuseGqa",
    "rlx-expand-copies": "rlx.passes.expand_copies:ExpandCopies",
    "rlx-export": "rlx.passes.export:Export",
    "rlx-outline-kernels": "rlx.passes.outline_kernels:OutlineKernels",
    "rlx-round-floats": "rlx.passes.round_floats:RoundFloats",
    "rlx-propagate-asserts": "rlx.passes.propagate_asserts:PropagateAsserts",
    "rlx-return-donated": "rlx.passes.return_donated:ReturnDonated",
    "rlx-fuse-elementwise": "rlx.passes.fuse_elementwise:FuseElementwise",
    "rlx-lower-asserts": "rlx.passes.lower_asserts:LowerAsserts",
    "convert-rlx-to-linalg": "rlx.passes.convert_rlx_to_linalg:ConvertRlxToLinalg",
}

_PIPELINES: dict[str, str] = {
    "rlx-fuse": "rlx.passes.pipelines:Fuse",
    "rlx-cpu": "rlx.targets.cpu:CpuPipeline",
}


class PluginError(RuntimeError):
    """A plugin could not be loaded, or claims a name that is taken."""


@cache
def _load_plugins() -> None:
    import sys

    for entry in sorted(metadata.entry_points(group="rlx.plugins"), key=lambda e: e.name):
        try:
            entry.load()(sys.modules[__name__])
        except Exception as error:
            raise PluginError(f"plugin '{entry.name}' ({entry.value}): {error}") from error


def _add(table: dict[str, str], kind: str, name: str, target: str) -> None:
    if table.get(name, target) != target:
        raise PluginError(f"{kind} '{name}' is already registered by {table[name]}")
    table[name] = target


def add_pass(name: str, target: str) -> None:
    """Registers a pass: ``target`` is ``"module:Class"`` of a :class:`rlx.passes.base.Pass`."""
    _add(_PASSES, "pass", name, target)


def add_pipeline(name: str, target: str) -> None:
    """Registers a pipeline: ``target`` is ``"module:Class"`` of a pass-like dataclass."""
    _add(_PIPELINES, "pipeline", name, target)


def add_op_module(module: str) -> None:
    """Registers a module that defines ops of the `rlx` dialect, as ``"package.module"``."""
    if module not in _OP_MODULES:
        _OP_MODULES.append(module)


def op_modules() -> list[str]:
    _load_plugins()
    return list(_OP_MODULES)


def pass_names() -> list[str]:
    _load_plugins()
    return sorted(_PASSES)


def pipeline_names() -> list[str]:
    _load_plugins()
    return sorted(_PIPELINES)


def targets() -> list[str]:
    """Where all passes and pipelines live, as ``"module:Class"``."""
    _load_plugins()
    return [*_PASSES.values(), *_PIPELINES.values()]


def _resolve(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def pass_class(name: str) -> Any:
    """The pass of that name, or None."""
    _load_plugins()
    return _resolve(_PASSES[name]) if name in _PASSES else None


def pipeline_class(name: str) -> Any:
    """The pipeline of that name, or None."""
    _load_plugins()
    return _resolve(_PIPELINES[name]) if name in _PIPELINES else None
