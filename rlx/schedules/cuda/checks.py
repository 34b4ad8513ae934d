"""Checks of what only the device knows, in the kernels that find it out."""

from rlx.host import arith, gpu, ir, memref, scf
from rlx.schedules.cuda.loops import inputs_of
from rlx.schedules.cuda.plain import index
from rlx.schedules.cuda.unroll import Guards

__all__ = ["take_checks", "tell", "tell_once"]

_NO_KERNELS = ("arith.", "memref.dim", "memref.reinterpret_cast", "cf.assert")


def take_checks(block: ir.Block, guards: Guards) -> dict[ir.Operation, str]:
    """Reductions to a boolean that checks are all that reads: the messages of these, by the op.

    The checks are erased; the kernel of the reduction makes them.
    """
    found: dict[ir.Operation, str] = {}
    taken: list[ir.Operation] = []
    ops = [op.operation for op in block.operations]
    for at, op in enumerate(ops):
        if op.name != "linalg.generic" or op.results or op in guards:
            continue
        load = _load_of(op, ops[at + 1 :])
        if load is None or load in guards:
            continue
        users = {use.owner.operation for use in load.results[0].uses}
        if not users or any(user.name != "cf.assert" or user in guards for user in users):
            continue
        texts = {ir.StringAttr(user.attributes["msg"]).value for user in users}
        if len(texts) != 1:
            continue
        (found[op],) = texts
        taken += [*users, load]
    for op in taken:
        op.erase()
    return found


def _load_of(op: ir.Operation, later: list[ir.Operation]) -> ir.Operation | None:
    """What loads the only element that an op computes, before anything else can write to it."""
    outputs = len(op.operands) - inputs_of(op)
    target = op.operands[len(op.operands) - 1]
    if outputs != 1 or not isinstance(target.type, ir.MemRefType) or target.type.rank:
        return None
    for other in later:
        if other.name == "memref.load" and other.operands[0] == target:
            return other
        if not other.name.startswith(_NO_KERNELS):
            return None
    return None


def tell(condition: ir.Value, status: ir.Value, number: int) -> None:
    """Writes the number of a check that has failed, unless one did before."""
    i64, zero = ir.IntegerType.get_signless(64), index(0)
    before = memref.load(status, [zero])
    fresh = arith.cmpi(arith.CmpIPredicate.eq, before, arith.constant(i64, 0))
    true = arith.constant(ir.IntegerType.get_signless(1), 1)
    failed = arith.andi(arith.xori(condition, true), fresh)
    branch = scf.IfOp(failed)
    with ir.InsertionPoint(branch.then_block):
        memref.store(arith.constant(i64, number), status, [zero])
        scf.yield_([])


def tell_once(found: ir.Value, status: ir.Value, number: int) -> None:
    """The same of an element that the first thread has written; it is the one that tells."""
    first = arith.cmpi(arith.CmpIPredicate.eq, gpu.thread_id(gpu.Dimension.x), index(0))
    branch = scf.IfOp(first)
    with ir.InsertionPoint(branch.then_block):
        tell(memref.load(found, []), status, number)
        scf.yield_([])
