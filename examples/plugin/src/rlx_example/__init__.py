"""Extends rlx: an op, a pass and a named pipeline."""

from typing import Any


def register(registry: Any) -> None:
    """The entry point. Says where things are; they are imported when they are needed.

    Args:
        registry: the module :mod:`rlx.registry`.
    """
    registry.add_op_module("rlx_example.ops")
    registry.add_pass("example-merge-clips", "rlx_example.passes:MergeClips")
    registry.add_pipeline("example-lower", "rlx_example.passes:Lower")
