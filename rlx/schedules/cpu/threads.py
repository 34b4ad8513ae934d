"""`rlx-cpu-parallel-to-openmp`: the parallel loops of kernels become threads."""

from dataclasses import dataclass

from rlx.host import arith, func, ir, openmp, scf
from rlx.passes.base import Pass, walk
from rlx.passes.clone import clone

__all__ = ["MAX_THREADS", "PARALLEL", "ParallelToOpenmp", "ask"]

MAX_THREADS = "omp_get_max_threads"
THREAD_NUMBER = "omp_get_thread_num"
TEAM_SIZE = "omp_get_num_threads"

PARALLEL = "rlx.parallel"
"""Attribute of an `scf.parallel` each of whose iterations is a thread's whole share of the work."""


@dataclass(frozen=True)
class ParallelToOpenmp(Pass):
    """Turns the `scf.parallel` ops that are marked `rlx.parallel` into OpenMP regions.

    There is one thread per iteration, or fewer where OpenMP does not give as many. Unlike
    upstream's `convert-scf-to-openmp` it leaves the loops of others alone, which may hold what
    cannot be outlined, lets the number of threads be a value, has one barrier instead of two, and
    makes less code.
    """

    name = "rlx-cpu-parallel-to-openmp"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        for loop in walk(op, "scf.parallel"):
            if PARALLEL in loop.attributes:
                with ir.InsertionPoint(loop), loop.location:
                    _convert(op, loop)
                loop.operation.erase()


def _convert(module: ir.Operation, loop: ir.OpView) -> None:
    low, high, _ = loop.operation.operands
    count = arith.index_cast(ir.IntegerType.get_signless(32), high)
    region = openmp.ParallelOp([], [], [count], [], [])
    with ir.InsertionPoint(region.regions[0].blocks.append()):
        # A loop of OpenMP's own would do the same, but compiles to several times the code.
        first = arith.addi(low, ask(module, THREAD_NUMBER))
        share = scf.ForOp(first, high, ask(module, TEAM_SIZE))
        openmp.TerminatorOp()
    body = loop.regions[0].blocks[0]
    mapping: dict[ir.Value, ir.Value] = {body.arguments[0]: share.induction_variable}
    with ir.InsertionPoint(share.body):
        for op in body.operations:
            if op.name != "scf.reduce":
                clone(op.operation, mapping)
        scf.yield_([])


def ask(module: ir.Operation, name: str) -> ir.Value:
    """The number that a function of OpenMP's without arguments returns, as an index."""
    i32 = ir.IntegerType.get_signless(32)
    if name not in ir.SymbolTable(module):
        with ir.InsertionPoint.at_block_begin(module.regions[0].blocks[0]):
            func.FuncOp(name, ir.FunctionType.get([], [i32]), visibility="private")
    found = func.CallOp([i32], ir.FlatSymbolRefAttr.get(name), [])
    return arith.index_cast(ir.IndexType.get(), found.results[0])
