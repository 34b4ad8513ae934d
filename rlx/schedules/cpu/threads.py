"""`rlx-cpu-parallel-to-openmp`: the parallel loops of kernels become threads."""

from dataclasses import dataclass

from rlx.host import arith, ir, openmp
from rlx.passes.base import Pass, walk
from rlx.passes.clone import clone

__all__ = ["PARALLEL", "ParallelToOpenmp"]

PARALLEL = "rlx.parallel"
"""Attribute of an `scf.parallel` each of whose iterations is a thread's whole share of the work."""


@dataclass(frozen=True)
class ParallelToOpenmp(Pass):
    """Turns the `scf.parallel` ops that are marked `rlx.parallel` into OpenMP regions.

    There is one thread per iteration, or fewer where OpenMP does not give as many. Unlike
    upstream's `convert-scf-to-openmp` it leaves the loops of others alone, which may hold what
    cannot be outlined, lets the number of threads be a value, and has one barrier instead of two.
    """

    name = "rlx-cpu-parallel-to-openmp"

    def run(self, op: ir.Operation) -> None:
        for loop in walk(op, "scf.parallel"):
            if PARALLEL in loop.attributes:
                with ir.InsertionPoint(loop), loop.location:
                    _convert(loop)
                loop.operation.erase()


def _convert(loop: ir.OpView) -> None:
    low, high, step = loop.operation.operands
    count = arith.index_cast(ir.IntegerType.get_signless(32), high)
    region = openmp.ParallelOp([], [], [count], [], [])
    with ir.InsertionPoint(region.regions[0].blocks.append()):
        share = openmp.WsloopOp([], [], [], [], [], [], nowait=True)
        openmp.TerminatorOp()
    with ir.InsertionPoint(share.regions[0].blocks.append()):
        nest = openmp.LoopNestOp([low], [high], [step])
    body = loop.regions[0].blocks[0]
    block = nest.regions[0].blocks.append(*[argument.type for argument in body.arguments])
    mapping = dict(zip(body.arguments, block.arguments, strict=True))
    with ir.InsertionPoint(block):
        for op in body.operations:
            if op.name != "scf.reduce":
                clone(op.operation, mapping)
        openmp.YieldOp([])
