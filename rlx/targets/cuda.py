"""NVIDIA GPUs."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rlx.options import option
from rlx.schedules.cuda.arch import ARCHS, Arch
from rlx.targets.base import BUFFERIZE, Stage, Target, TargetError

if TYPE_CHECKING:
    from rlx.host import ir

__all__ = ["CudaTarget", "arch_for"]

_FUSED = "rlx-fuse"

# As on the CPU, but that checks stay what they are: those of sizes are made before anything runs,
# those of data by kernels.
_LINALG = (
    "rlx-check-shapes,"
    "rlx-cuda-select-kernels{{arch={arch}}},"
    "convert-rlx-to-linalg,"
    "func.func(lift-cf-to-scf),"
    "cse,"
    "rlx-propagate-asserts,"
    "canonicalize,"
    "resolve-ranked-shaped-type-result-dims,"
    "cse,canonicalize,"
    "func.func(convert-elementwise-to-linalg),"
    "canonicalize,cse,"
    "rlx-fuse-elementwise,"
    "canonicalize,cse"
)

# Nothing is freed: where buffers lie is decided when the launches are known.
_GPU = (
    "rlx-export,"
    "rlx-cuda-emit-kernels{{arch={arch}}},"
    "{bufferize},"
    "canonicalize,"
    "convert-bufferization-to-memref,"
    "func.func(linalg-generalize-named-ops),"
    "expand-strided-metadata,"
    "lower-affine,"
    "canonicalize,cse,"
    "rlx-cuda-outline,"
    "canonicalize,cse"
)

_NVVM = (
    "gpu.module("
    "rlx-cuda-flatten-arguments,"
    "convert-nvgpu-to-nvvm,"
    "convert-vector-to-scf,"
    "fold-memref-alias-ops,"
    "expand-strided-metadata,"
    "lower-affine,"
    "convert-scf-to-cf,"
    "math-extend-to-supported-types{{target-type=f32}},"
    "rlx-round-floats,"
    "rlx-cuda-intrinsics,"
    "convert-gpu-to-nvvm{{use-bare-ptr-memref-call-conv=true index-bitwidth=64}},"
    "rlx-cuda-mark-kernels,"
    "canonicalize,cse)"
)

_LLVM = (
    "gpu.module("
    "convert-vector-to-llvm,"
    "convert-index-to-llvm,"
    "convert-nvvm-to-llvm,"
    "reconcile-unrealized-casts,"
    "canonicalize,cse)"
)


def arch_for(name: str) -> Arch:
    """The architecture that code for ``name`` is made for.

    Raises:
        TargetError: it is older than sm_80, or no architecture.
    """
    if name in ARCHS:
        return ARCHS[name]
    match = re.fullmatch(r"sm_([0-9]+)[af]?", name)
    if match is None or int(match[1]) < 80:
        raise TargetError(
            f"arch={name}: expected an architecture from sm_80 on, such as {', '.join(ARCHS)}"
        )
    # Whatever is not listed runs the portable code, which the driver translates.
    return max(
        (a for a in ARCHS.values() if a.number <= int(match[1]) and not a.wgmma),
        key=lambda a: a.number,
    )


@dataclass(frozen=True)
class CudaTarget(Target):
    """Code for an NVIDIA GPU: PTX, launched by :mod:`rlx.runtime.cuda`."""

    name = "cuda"
    positional = "arch"

    arch: str = option("sm_80", "architecture: sm_80, sm_86, sm_89, sm_90a or newer")
    opt_level: Literal["0", "1", "2", "3"] = option("3", "LLVM's optimisation level")

    def stages(self) -> tuple[Stage, ...]:
        arch = arch_for(self.arch).name
        return (
            Stage("rlx", ""),
            Stage("fused", _FUSED),
            Stage("linalg", _LINALG.format(arch=arch)),
            Stage("gpu", _GPU.format(bufferize=BUFFERIZE, arch=arch)),
            Stage("nvvm", _NVVM.format()),
            Stage("llvm", _LLVM.format()),
        )

    def object_code(self, module: "ir.Module", function: str) -> bytes:
        """The PTX of all kernels of a module that has passed all stages."""
        from rlx.targets.nvptx import ptx

        return ptx(module, arch_for(self.arch), int(self.opt_level)).encode()

    def machine(self) -> str:
        return arch_for(self.arch).name
