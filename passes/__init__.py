"""Passes: one file each. See :mod:`rlx.passes.base` for what a pass is."""
