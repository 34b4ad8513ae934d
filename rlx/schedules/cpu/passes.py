"""`rlx-cpu-select-kernels` and `rlx-cpu-emit-kernels`: fast code for the heavy ops."""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from rlx.diagnostics import PassFailure, remark
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.rope import RopeOp
from rlx.host import ir
from rlx.options import option
from rlx.passes.base import Pass, walk
from rlx.passes.convert_rlx_to_linalg import KERNEL
from rlx.schedules.cpu.code import Kernels
from rlx.schedules.cpu.isa import ISAS
from rlx.schedules.select import select

__all__ = ["STRATEGIES", "EmitKernels", "SelectKernels", "strategy"]

_HERE = "rlx.schedules.cpu"

STRATEGIES: dict[type[RlxOp], str] = {
    MatmulOp: f"{_HERE}.matmul",
    DequantMatmulOp: f"{_HERE}.dequant",
    AttentionOp: f"{_HERE}.attention",
    RopeOp: f"{_HERE}.attention.rope",
    RmsNormOp: f"{_HERE}.norm",
    LayerNormOp: f"{_HERE}.norm",
}
"""The modules of strategies for any instruction set, imported when there is such an op."""

_OWN: dict[str, dict[type[RlxOp], str]] = {
    "amx": {MatmulOp: f"{_HERE}.bf16_matmul", AttentionOp: f"{_HERE}.amx_attention"},
    "avx512_bf16": {MatmulOp: f"{_HERE}.bf16_matmul"},
}
"""The modules of strategies that an instruction set has of its own."""


def strategy(kind: type[RlxOp], isa: str) -> ModuleType | None:
    """The strategy for ops of a kind that are marked with ``isa``."""
    if isa not in ISAS:
        return None
    module = (_OWN.get(isa, {}) if ISAS[isa].base else STRATEGIES).get(kind)
    return None if module is None else importlib.import_module(module)


@dataclass(frozen=True)
class SelectKernels(Pass):
    """Marks the ops that get a kernel of their own, in the form that the kernel takes.

    An op that is marked, with the attribute `rlx.kernel`, stays on tensors as it is until
    `rlx-cpu-emit-kernels`; checks of its sizes are made here. Where there is a kernel for a kind of
    op but not for this one, a remark says why, and the op takes the plain path.
    """

    name = "rlx-cpu-select-kernels"

    isa: Literal["amx", "avx512_bf16", "avx512", "avx2"] = option(
        "avx512", "instruction set that kernels are made of"
    )

    def run(self, op: ir.Operation) -> None:
        for target in walk(op, *STRATEGIES):
            if KERNEL in target.attributes:
                continue
            isa: str = self.isa
            own = strategy(type(target), isa)
            while ISAS[isa].base and (own is None or own.refusal(target)):
                isa = ISAS[isa].base
                own = strategy(type(target), isa)
            if own is None:
                continue
            if reason := own.refusal(target):
                remark(target, f"'{target.OPERATION_NAME}' takes the plain path: {reason}")
                continue
            select(target, isa, own.prepare)


@dataclass(frozen=True)
class EmitKernels(Pass):
    """Replaces marked ops by calls of kernels, made of loops, vectors and buffers.

    Kernels are private functions. They take sizes and strides from their arguments, so that ops
    that differ in nothing else share one. Runs on tensors, right before bufferization: what is
    between a buffer and its tensor must not move.
    """

    name = "rlx-cpu-emit-kernels"
    anchor = "builtin.module"

    threads: int = option(
        1, "how many threads a kernel may use; 0 for what OpenMP says at run time"
    )

    def run(self, op: ir.Operation) -> None:
        if self.threads < 0:
            raise PassFailure(op, f"expected a number of threads, but found {self.threads}")
        kernels = Kernels(op, self.threads)
        # Attention takes over ropes that feed it.
        marked = [t for t in walk(op) if isinstance(t, RlxOp) and KERNEL in t.attributes]
        for target in sorted(marked, key=lambda target: isinstance(target, RopeOp)):
            if isinstance(target, RopeOp) and not list(target.results[0].uses):
                target.operation.erase()
                continue
            name = ir.StringAttr(target.attributes[KERNEL]).value
            own = strategy(type(target), name)
            if own is None:
                raise PassFailure(target, f"there is no kernel '{name}' for this op")
            with ir.InsertionPoint(target), target.location:
                value = own.build(target, kernels, ISAS[name])
            if value is not None:  # else it has put something in place of what reads the result
                target.results[0].replace_all_uses_with(value)
            target.operation.erase()
