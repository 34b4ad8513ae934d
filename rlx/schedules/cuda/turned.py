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
from rlx.schedules.cuda.softmax import Turn

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
    whole = code.CHUNK if rope.pairing == "interleaved" else 2 * code.CHUNK
    fits = (
        rope.pairing in ("half", "interleaved")
        and rope.input.type.rank == 3
        and rope.head_dim == op.head_dim
        and rope.n_rot % whole == 0
        and op.head_dim % code.CHUNK == 0
        # With positions, tables may have fewer rows than there are queries.
        and (rope.positions is None or rope.cos.type.shape[0] > 0)
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
    angle: Callable[[Index], Index],
    tables: tuple[ir.Value, ir.Value],
    turn: Turn,
    thread: Index,
    threads: int,
) -> None:
    """Turns rows in place.

    Args:
        memory: where they lie.
        place: maps a row and a chunk of 8 columns to where that begins.
        rows: how many there are.
        angle: maps a row to that of the tables which it is turned by.
        tables: cosines and sines.
        turn: how rows are turned.
        thread, threads: who does it.
    """
    pairs = code.CHUNK // 2 if turn.interleaved else code.CHUNK  # that a thread turns at once
    chunks = turn.columns // 2 // pairs

    def load(buffer: ir.Value, at: tuple[Index, Index], count: int) -> ir.Value:
        type_ = ir.VectorType.get([count], buffer.type.element_type)
        wide = ir.VectorType.get([count], code.f32())
        value = vector.load(type_, buffer, [code.index(i) for i in at])
        return value if type_ == wide else arith.extf(wide, value)

    def store(value: ir.Value, at: tuple[Index, Index]) -> None:
        narrow = code.narrow(value, memory.type.element_type)
        vector.store(narrow, memory, [code.index(i) for i in at], alignment=16)

    def one(number: ir.Value) -> None:
        row, chunk = code.divide(number, chunks), code.remainder(number, chunks)
        at = place(row, chunk)
        a = load(memory, at, code.CHUNK)
        if turn.interleaved:
            even, odd = list(range(0, code.CHUNK, 2)), list(range(1, code.CHUNK, 2))
            a, b = vector.shuffle(a, a, even), vector.shuffle(a, a, odd)
        else:
            other = place(row, code.add(chunk, chunks))
            b = load(memory, other, code.CHUNK)
        entry = angle(row), code.multiply(chunk, pairs)
        cos, sin = (load(table, entry, pairs) for table in tables)
        first = arith.subf(arith.mulf(a, cos), arith.mulf(b, sin))
        second = arith.addf(arith.mulf(b, cos), arith.mulf(a, sin))
        if turn.interleaved:
            mixed = [n for pair in range(pairs) for n in (pair, pair + pairs)]
            store(vector.shuffle(first, second, mixed), at)
        else:
            store(first, at)
            store(second, other)

    code.loop(thread, rows * chunks, threads, one)
