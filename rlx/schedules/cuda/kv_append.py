"""`rlx.kv_append`: rows copied into the cache where it lies, 16 bytes at a time."""

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.kv_append import KvAppendOp
from rlx.host import arith, bufferization, ir, vector
from rlx.schedules.cuda import code
from rlx.schedules.cuda.arch import Arch
from rlx.schedules.cuda.kernels import Kernels
from rlx.schedules.cuda.loops import width
from rlx.schedules.cuda.plain import THREADS

__all__ = ["build", "prepare", "refusal"]


def refusal(op: KvAppendOp, arch: Arch) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    return None


def prepare(op: KvAppendOp) -> tuple[RlxOp, ir.Value]:
    """Checks sizes and lengths, and makes the op again; returns it and its result."""
    update, lengths = op.fitting_operands()
    result = KvAppendOp.create(op.cache, update, lengths)
    return result.owner.opview, result


def build(op: KvAppendOp, kernels: Kernels, arch: Arch) -> ir.Value:
    """Emits the launch for an op that :func:`prepare` made; returns the cache after it."""
    type_ = op.cache.type
    buffer_type = ir.MemRefType.get(type_.shape, type_.element_type)
    # Bufferization makes a copy of the cache first unless this is its last use.
    cache = bufferization.ToBufferOp(buffer_type, op.cache).result
    update, lengths = code.to_buffer(op.update), code.to_buffer(op.lengths)
    row = type_.shape[2]
    lanes = 128 // width(type_.element_type)
    while row == code.DYNAMIC or row % lanes:
        if lanes == 1 or row == code.DYNAMIC:
            lanes = 1
            break
        lanes //= 2
    batch, rows, columns = (emit.dim(op.update, axis) for axis in range(3))
    steps = columns // lanes if isinstance(columns, int) else columns
    total = code.multiply(code.multiply(batch, rows), steps)
    element, ids = type_.element_type, op.lengths.type.element_type
    types = [
        ir.MemRefType.get([code.DYNAMIC, code.DYNAMIC, row], element),
        code.matrix(element, 3),
        code.matrix(ids, 1),
    ]
    name = kernels.name(f"rlx_kv_append_{element}", (str(ids), row, lanes))
    launch = kernels.define(
        name, types, lambda *arguments: _body(*arguments, lanes=lanes), block=[THREADS]
    )
    launch(cache, update, lengths, grid=[code.ceil_div(total, THREADS)])
    return code.to_tensor(cache)


def _body(cache: ir.Value, update: ir.Value, lengths: ir.Value, *, lanes: int) -> None:
    thread = code.add(code.multiply(code.block("x"), THREADS), code.thread(THREADS))
    batch, rows = code.dim(update, 0), code.dim(update, 1)
    row = cache.type.shape[2]
    columns = code.dim(update, 2) if row == code.DYNAMIC else row
    steps = code.divide(columns, lanes)
    total = code.multiply(code.multiply(batch, rows), steps)

    def copy() -> None:
        column = code.multiply(code.remainder(thread, steps), lanes)
        rest = code.divide(thread, steps)
        b, s = code.divide(rest, rows), code.remainder(rest, rows)
        start = arith.index_cast(ir.IndexType.get(), code.load_raw(lengths, [b]))
        # A length without room is an error that another kernel finds; nothing is written then.
        free = code.subtract(code.dim(cache, 1), rows)
        fits = arith.andi(code.at_most(0, start), code.at_most(start, free))
        code.if_(fits, lambda: _move(cache, update, [b, s, column], start, lanes))

    code.if_(code.less(thread, total), copy)


def _move(
    cache: ir.Value, update: ir.Value, at: list[code.Index], start: ir.Value, lanes: int
) -> None:
    b, s, column = at
    source = [code.index(i) for i in at]
    target = [code.index(i) for i in (b, code.add(start, s), column)]
    type_ = ir.VectorType.get([lanes], cache.type.element_type)
    bytes_ = lanes * width(type_.element_type) // 8

    def fast() -> None:
        value = vector.load(type_, update, source, alignment=bytes_)
        vector.store(value, cache, target, alignment=bytes_)

    def slow() -> None:
        places = [[*at[:-1], code.add(column, n)] for n in range(lanes)]
        whole = vector.from_elements(type_, [code.load_raw(update, place) for place in places])
        vector.store(whole, cache, target, alignment=bytes_)

    if lanes == 1:
        slow()
    else:
        code.if_(code.aligned(update, bytes_), fast, slow)
