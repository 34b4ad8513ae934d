"""A pass and a pipeline on `rlx.clip`."""

from dataclasses import dataclass

from rlx.diagnostics import remark
from rlx.host import ir
from rlx.options import option
from rlx.passes.base import Pass, Pipeline, walk
from rlx_example.ops import ClipOp, clip

__all__ = ["Lower", "MergeClips"]


@dataclass(frozen=True)
class MergeClips(Pass):
    """Makes one `rlx.clip` of two in a row.

    The bounds of the result are those of both. Two that have nothing in common stay, with a remark.
    """

    name = "example-merge-clips"

    keep_shared: bool = option(False, "leave a clip alone that has other uses")

    def run(self, op: ir.Operation) -> None:
        for outer in walk(op, ClipOp):
            inner = outer.input.owner
            if not isinstance(inner, ir.OpView | ir.Operation) or inner.name != "rlx.clip":
                continue
            if self.keep_shared and len(list(inner.results[0].uses)) > 1:
                continue
            first = inner.opview if isinstance(inner, ir.Operation) else inner
            low, high = max(first.low, outer.low), min(first.high, outer.high)
            if low > high:
                reason = f"clips stay: nothing is at least {low} and at most {high}"
                remark(outer, reason, [(first, "the first")])
                continue
            with ir.InsertionPoint(outer), outer.location:
                merged = clip(first.input, low=low, high=high)
            outer.results[0].replace_all_uses_with(merged)
            outer.operation.erase()
            if not list(first.results[0].uses):
                first.operation.erase()


@dataclass(frozen=True)
class Lower(Pipeline):
    """Merges clips and takes everything to linalg."""

    name = "example-lower"

    merge: bool = option(True, "merge clips first")

    def text(self) -> str:
        first = ["example-merge-clips"] if self.merge else []
        return ",".join([*first, "convert-rlx-to-linalg", "func.func(canonicalize,cse)"])
