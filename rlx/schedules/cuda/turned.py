"""`rlx.rope` of the queries inside of attention: once they are in shared memory.

That saves writing and reading them. Keys are turned by a kernel of their own: blocks of queries
would do it again and again.
"""

from collections.abc import Callable

from rlx.dialects.attention import AttentionOp
from rlx.dialects.rope import RopeOp
from rlx.host import arith, ir, vector
from rlx.passes.convert_rlx_to_linalg import KERNEL
from rlx.schedules.cuda import code, hopper
from rlx.schedules.cuda.code import Index

__all__ = ["queries_of", "reader", "turn_rows"]

Place = Callable[[Index, Index], tuple[Index, Index]]


def queries_of(op: AttentionOp) -> RopeOp | None:
    """The op that turns the queries of ``op`` and does nothing else, if the kernel can do it."""
    owner = op.query.owner
    if isinstance(owner, ir.Block) or owner.name != RopeOp.OPERATION_NAME:
        return None
    rope: RopeOp = owner.opview
    name = ir.StringAttr(op.attributes[KERNEL]).value if KERNEL in op.attributes else ""
    if name not in ("mma", "wgmma") or len(list(op.query.uses)) != 1:
        return None
    fits = (
        rope.pairing == "half"
        and rope.positions is None
        and rope.input.type.rank == 3
        and rope.head_dim == op.head_dim
        and rope.n_rot % (2 * code.CHUNK) == 0
        and op.head_dim % code.CHUNK == 0
    )
    if not fits or (name == "wgmma" and not hopper.is_mappable(rope.input)):
        return None
    return rope


def reader(op: RopeOp) -> AttentionOp | None:
    """The attention op that does the work of ``op``, or None."""
    users = [use.owner.operation.opview for use in op.results[0].uses]
    if len(users) != 1 or not isinstance(users[0], AttentionOp):
        return None
    found = queries_of(users[0])
    return users[0] if found is not None and found.operation == op.operation else None


def turn_rows(
    memory: ir.Value,
    place: Place,
    rows: int,
    query_of: Callable[[Index], Index],
    tables: tuple[ir.Value, ir.Value],
    n_rot: int,
    thread: Index,
    threads: int,
) -> None:
    """Turns rows in place.

    Args:
        memory: where they lie.
        place: maps a row and a chunk of 8 columns to where that begins.
        rows: how many there are.
        query_of: maps a row to its query, which the tables must have.
        tables: cosines and sines.
        n_rot: columns that are turned.
        thread, threads: who does it.
    """
    chunks = n_rot // 2 // code.CHUNK
    element = memory.type.element_type
    wide = ir.VectorType.get([code.CHUNK], code.f32())

    def load(buffer: ir.Value, at: tuple[Index, Index]) -> ir.Value:
        type_ = ir.VectorType.get([code.CHUNK], buffer.type.element_type)
        value = vector.load(type_, buffer, [code.index(i) for i in at])
        return value if type_ == wide else arith.extf(wide, value)

    def one(number: ir.Value) -> None:
        row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
        places = [place(row, chunk), place(row, code.add(chunk, chunks))]
        a, b = (load(memory, at) for at in places)
        entry = query_of(row), code.multiply(chunk, code.CHUNK)
        cos, sin = (load(table, entry) for table in tables)
        turned = (
            arith.subf(arith.mulf(a, cos), arith.mulf(b, sin)),
            arith.addf(arith.mulf(b, cos), arith.mulf(a, sin)),
        )
        for value, at in zip(turned, places, strict=True):
            indices = [code.index(i) for i in at]
            vector.store(code.narrow(value, element), memory, indices, alignment=16)

    code.loop(thread, rows * chunks, threads, one)
