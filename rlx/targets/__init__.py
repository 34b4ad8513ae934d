"""What code is compiled for: named stages, and options that are part of the cache key."""

from rlx.targets.base import Stage, Target, TargetError, get

__all__ = ["Stage", "Target", "TargetError", "get"]
