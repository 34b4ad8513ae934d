"""What code is compiled for: named stages, and options that are part of the cache key."""

from rlx.targets.base import Stage, Target, TargetError, get
from rlx.targets.quantized import quantized
from rlx.targets.threaded import threaded

__all__ = ["Stage", "Target", "TargetError", "get", "quantized", "threaded"]
