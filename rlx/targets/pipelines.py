"""The stages of targets as named pipelines, for `rlx-opt`."""

from dataclasses import dataclass
from typing import Literal

from rlx.options import option
from rlx.passes.base import Pipeline
from rlx.targets.base import Target
from rlx.targets.cpu import CpuTarget
from rlx.targets.cuda import CudaTarget

__all__ = ["CpuPipeline", "CudaPipeline"]


def _text(target: Target, last: str) -> str:
    """The passes that lead to a stage."""
    stages = target.stages()
    end = [stage.name for stage in stages].index(last)
    return ",".join(stage.pipeline for stage in stages[: end + 1] if stage.pipeline)


@dataclass(frozen=True)
class CpuPipeline(Pipeline):
    """The way from rlx ops to the LLVM dialect, for the CPU of this machine."""

    name = "rlx-cpu"

    def text(self) -> str:
        return _text(CpuTarget(), "llvm")


@dataclass(frozen=True)
class CudaPipeline(Pipeline):
    """The way from rlx ops to launches, and to kernels in the LLVM dialect, for NVIDIA GPUs."""

    name = "rlx-cuda"

    arch: str = option("sm_80", "architecture: sm_80, sm_86, sm_89, sm_90a or newer")
    to: Literal["fused", "linalg", "gpu", "nvvm", "llvm"] = option("llvm", "stage to stop after")

    def text(self) -> str:
        return _text(CudaTarget(self.arch), self.to)
