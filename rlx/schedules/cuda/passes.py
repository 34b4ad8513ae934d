"""`rlx-cuda-select-kernels` and `rlx-cuda-emit-kernels`: kernels of their own for ops."""

from dataclasses import dataclass
from types import ModuleType

from rlx.diagnostics import PassFailure, remark
from rlx.dialects.attention import AttentionOp
from rlx.dialects.base import RlxOp
from rlx.dialects.dequant_matmul import DequantMatmulOp
from rlx.dialects.kv_append import KvAppendOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.rope import RopeOp
from rlx.host import ir
from rlx.options import option
from rlx.passes.base import Pass, walk
from rlx.passes.convert_rlx_to_linalg import KERNEL
from rlx.schedules.cuda import (
    attention,
    attention_wgmma,
    dequant_matmul,
    dequant_mma,
    kv_append,
    matmul,
    matmul_fma,
    matmul_wgmma,
    norms,
    plain_attention,
    rope,
)
from rlx.schedules.cuda.arch import ARCHS, Arch
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.select import select

__all__ = ["STRATEGIES", "EmitKernels", "SelectKernels"]

STRATEGIES: dict[type[RlxOp], dict[str, ModuleType]] = {
    AttentionOp: {"wgmma": attention_wgmma, "mma": attention, "plain": plain_attention},
    DequantMatmulOp: {"mma": dequant_mma, "reduce": dequant_matmul},
    KvAppendOp: {"copy": kv_append},
    LayerNormOp: {"rows": norms},
    MatmulOp: {"wgmma": matmul_wgmma, "mma": matmul, "fma": matmul_fma},
    RmsNormOp: {"rows": norms},
    RopeOp: {"turn": rope},
}
"""Strategies by name for each kind of op, best first."""


def _arch(op: ir.Operation, name: str) -> Arch:
    if name not in ARCHS:
        raise PassFailure(op, f"expected an architecture of {', '.join(ARCHS)}, got '{name}'")
    return ARCHS[name]


@dataclass(frozen=True)
class SelectKernels(Pass):
    """Marks the ops that get a kernel of their own, in the form that the kernel takes.

    An op that is marked, with the attribute `rlx.kernel`, stays on tensors as it is until
    `rlx-cuda-emit-kernels`; checks of its sizes are made here. Where no strategy takes an op, a
    remark says why, and the op goes through linalg.
    """

    name = "rlx-cuda-select-kernels"

    arch: str = option("sm_80", "architecture that kernels are made for")

    def run(self, op: ir.Operation) -> None:
        arch = _arch(op, self.arch)
        for target in walk(op):
            if type(target) in STRATEGIES and KERNEL not in target.attributes:
                _select(target, arch)


def _select(target: ir.OpView, arch: Arch) -> None:
    reasons = []
    for name, strategy in STRATEGIES[type(target)].items():
        if name == "wgmma" and not arch.wgmma:
            continue  # nothing to remark on
        with target.location:
            reason = strategy.refusal(target, arch)
        if reason:
            reasons.append(f"{name}: {reason}")
            continue
        made = select(target, name, strategy.prepare)
        if reasons:
            why = "; ".join(reasons)
            remark(made, f"'{made.OPERATION_NAME}' takes the kernel '{name}': {why}")
        return
    remark(target, f"'{target.OPERATION_NAME}' takes the plain path: {'; '.join(reasons)}")


@dataclass(frozen=True)
class EmitKernels(Pass):
    """Replaces marked ops by launches of kernels, in the gpu dialect.

    Kernels take sizes and strides from their arguments, so that ops that differ in nothing else
    share one. Runs on tensors, right before bufferization: what is between a buffer and its tensor
    must not move.
    """

    name = "rlx-cuda-emit-kernels"
    anchor = "builtin.module"

    arch: str = option("sm_80", "architecture that kernels are made for")

    def run(self, op: ir.Operation) -> None:
        arch = _arch(op, self.arch)
        kernels = Kernels(op)
        left: list[ir.Operation] = []
        for target in walk(op):
            if not isinstance(target, RlxOp) or KERNEL not in target.attributes:
                continue
            name = ir.StringAttr(target.attributes[KERNEL]).value
            strategy = STRATEGIES.get(type(target), {}).get(name)
            if strategy is None:
                raise PassFailure(target, f"there is no kernel '{name}' for this op")
            with ir.InsertionPoint(target), target.location:
                value = strategy.build(target, kernels, arch)
            if value is not None:  # else it has put something in place of what reads the result
                target.results[0].replace_all_uses_with(value)
            if list(target.results[0].uses):
                left.append(target.operation)  # what reads the result takes its place
            else:
                target.operation.erase()
        for operation in left:
            if list(operation.results[0].uses):
                raise PassFailure(operation, "no kernel has taken the place of this op")
            operation.erase()
