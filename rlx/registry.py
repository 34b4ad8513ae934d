"""Names of passes, pipelines and ops, and where they live.

Built-in names map to ``module:attribute`` and are imported on first use. Other packages add theirs
through the entry point group ``rlx.plugins``: each entry point names a function that takes this
module and calls :func:`add_pass`, :func:`add_pipeline` and :func:`add_op_module`. `examples/plugin`
is such a package.
"""

import dataclasses
import importlib
import re
import sys
from functools import cache
from importlib import metadata
from typing import Any

__all__ = [
    "PluginError",
    "add_op_module",
    "add_pass",
    "add_pipeline",
    "import_target",
    "op_modules",
    "pass_class",
    "pass_names",
    "pipeline_class",
    "pipeline_names",
    "targets",
]

_OP_MODULES = [
    "rlx.dialects.matmul",
    "rlx.dialects.dequant_matmul",
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
    "rlx-check-shapes": "rlx.passes.check_shapes:CheckShapes",
    "rlx-quantize-weights": "rlx.passes.quantize_weights:QuantizeWeights",
    "rlx-bf16-as-i16": "rlx.passes.bf16_as_i16:Bf16AsI16",
    "rlx-expand-math": "rlx.passes.expand_math:ExpandMath",
    "rlx-simulate-x86": "rlx.passes.simulate_x86:SimulateX86",
    "rlx-expand-copies": "rlx.passes.expand_copies:ExpandCopies",
    "rlx-export": "rlx.passes.export:Export",
    "rlx-outline-kernels": "rlx.passes.outline_kernels:OutlineKernels",
    "rlx-free-results": "rlx.passes.free_results:FreeResults",
    "rlx-huge-pages": "rlx.passes.huge_pages:HugePages",
    "rlx-sink-arguments": "rlx.passes.sink_arguments:SinkArguments",
    "rlx-target-processor": "rlx.passes.target_processor:TargetProcessor",
    "rlx-round-floats": "rlx.passes.round_floats:RoundFloats",
    "rlx-propagate-asserts": "rlx.passes.propagate_asserts:PropagateAsserts",
    "rlx-return-donated": "rlx.passes.return_donated:ReturnDonated",
    "rlx-fuse-elementwise": "rlx.passes.fuse_elementwise:FuseElementwise",
    "rlx-lower-asserts": "rlx.passes.lower_asserts:LowerAsserts",
    "rlx-cpu-select-kernels": "rlx.schedules.cpu.passes:SelectKernels",
    "rlx-cpu-pack-weights": "rlx.schedules.cpu.pack_weights:PackWeights",
    "rlx-cpu-emit-kernels": "rlx.schedules.cpu.passes:EmitKernels",
    "rlx-cpu-split-kernels": "rlx.schedules.cpu.split:SplitKernels",
    "rlx-cpu-parallel-to-openmp": "rlx.schedules.cpu.threads:ParallelToOpenmp",
    "rlx-cuda-select-kernels": "rlx.schedules.cuda.passes:SelectKernels",
    "rlx-cuda-emit-kernels": "rlx.schedules.cuda.passes:EmitKernels",
    "rlx-cuda-outline": "rlx.schedules.cuda.outline:Outline",
    "rlx-cuda-flatten-arguments": "rlx.schedules.cuda.flatten:FlattenArguments",
    "rlx-cuda-mark-kernels": "rlx.schedules.cuda.flatten:MarkKernels",
    "rlx-cuda-intrinsics": "rlx.schedules.cuda.intrinsics:Intrinsics",
    "convert-rlx-to-linalg": "rlx.passes.convert_rlx_to_linalg:ConvertRlxToLinalg",
}

_PIPELINES: dict[str, str] = {
    "rlx-fuse": "rlx.passes.pipelines:Fuse",
    "rlx-cpu": "rlx.targets.pipelines:CpuPipeline",
    "rlx-cuda": "rlx.targets.pipelines:CudaPipeline",
}


class PluginError(RuntimeError):
    """A plugin could not be loaded, or claims a name that is taken."""


@cache
def _load_plugins() -> None:
    for entry in sorted(metadata.entry_points(group="rlx.plugins"), key=lambda e: e.name):
        try:
            entry.load()(sys.modules[__name__])
        except Exception as error:
            raise PluginError(
                f"plugin '{entry.name}' ({entry.value}): {type(error).__name__}: {error}"
            ) from error


def _add(table: dict[str, str], kind: str, name: str, target: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(f"{kind} '{name}': expected a name in kebab case, such as 'my-{kind}'")
    if not re.fullmatch(r"[\w.]+:\w+", target):
        raise PluginError(f"{kind} '{name}': expected 'module:Class', but got '{target}'")
    for other in (_PASSES, _PIPELINES):
        if name in other and (other is not table or other[name] != target):
            raise PluginError(f"{kind} '{name}' is already registered by {other[name]}")
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


def import_target(target: str) -> Any:
    """What ``"module"`` or ``"module:attribute"`` names.

    Raises:
        PluginError: it cannot be imported.
    """
    module, _, attribute = target.partition(":")
    try:
        found = importlib.import_module(module)
        return getattr(found, attribute) if attribute else found
    except Exception as error:
        if module.startswith("rlx."):
            raise
        raise PluginError(f"cannot load '{target}': {type(error).__name__}: {error}") from error


def pass_class(name: str) -> Any:
    """The pass of that name, or None."""
    _load_plugins()
    return _class("pass", name, _PASSES[name], "run") if name in _PASSES else None


def pipeline_class(name: str) -> Any:
    """The pipeline of that name, or None."""
    _load_plugins()
    return _class("pipeline", name, _PIPELINES[name], "text") if name in _PIPELINES else None


def _class(kind: str, name: str, target: str, method: str) -> Any:
    cls = import_target(target)
    if not dataclasses.is_dataclass(cls) or not hasattr(cls, method):
        raise PluginError(f"{kind} '{name}': {target} is no dataclass with a method '{method}'")
    return cls
