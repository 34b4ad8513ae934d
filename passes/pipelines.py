"""Named pipelines of target-independent passes."""

from dataclasses import dataclass

from rlx.options import option
from rlx.passes.base import Pipeline

__all__ = ["Fuse"]


@dataclass(frozen=True)
class Fuse(Pipeline):
    """All fusions, in the order in which they help one another.

    Equal computations are merged first, so that the keys and values that a stage hands out and
    those that attention reads are one projection. Sizes are traced to where they come from, since
    the size of a part would keep the part alive, and comparisons of sizes that always hold are
    resolved. Repeated heads go before rotary embeddings, which may hide below them, and
    projections are packed last, when it is known who uses them.
    """

    name = "rlx-fuse"

    pack_parameters: bool = option(
        True, "run rlx-fuse-qkv, which changes the argument list of functions"
    )

    def text(self) -> str:
        passes = [
            "canonicalize",
            "cse",
            "resolve-ranked-shaped-type-result-dims",
            "int-range-optimizations",
            "canonicalize",
            "cse",
            "rlx-fuse-gqa",
            "rlx-fuse-partial-rotary",
            "rlx-fuse-norm",
            "rlx-fuse-glu",
            *(["rlx-fuse-qkv"] if self.pack_parameters else []),
            "canonicalize",
            "cse",
        ]
        return ",".join(passes)
