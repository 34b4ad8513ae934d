"""The stages of targets as named pipelines, for `rlx-opt`."""

from dataclasses import dataclass

from rlx.passes.base import Pipeline
from rlx.targets.cpu import CpuTarget

__all__ = ["CpuPipeline"]


@dataclass(frozen=True)
class CpuPipeline(Pipeline):
    """The way from rlx ops to the LLVM dialect, for the CPU of this machine."""

    name = "rlx-cpu"

    def text(self) -> str:
        return ",".join(stage.pipeline for stage in CpuTarget().stages() if stage.pipeline)
