"""`rlx.rms_norm` and `rlx.layer_norm`: a row at a time.

A row is read from memory once: the sums that its statistics need, and then the scaling, go over it
while it lies in the cache. Everything is computed in f32. The variance of `rlx.layer_norm` is the
mean square of what is left without the mean, as in its plain lowering.
"""

from collections.abc import Callable, Sequence

from rlx.dialects import emit
from rlx.dialects.base import RlxOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.dialects.types import is_static
from rlx.host import arith, ir, math, tensor
from rlx.schedules.cpu import code
from rlx.schedules.cpu.code import Index, Kernels
from rlx.schedules.cpu.isa import Isa

__all__ = ["build", "prepare", "refusal"]

_LEAST_WIDTH = 16
_SUMS = 4  # independent sums, so that additions need not wait for each other


def refusal(op: RmsNormOp | LayerNormOp) -> str | None:
    """Why the kernel is not for ``op``; None when it is."""
    if isinstance(op.input.type.element_type, ir.F64Type):
        return "there is no kernel for f64"
    width = op.input.type.shape[-1]
    if not is_static(width):
        return "the size of the last axis is not known"
    if _group(op) < _LEAST_WIDTH:
        return f"fewer than {_LEAST_WIDTH} elements are normalised together"
    return None


def _group(op: RmsNormOp | LayerNormOp) -> int:
    """How many elements are normalised together."""
    width = op.input.type.shape[-1]
    return width if isinstance(op, LayerNormOp) else op.group or width


def prepare(op: RmsNormOp | LayerNormOp) -> tuple[RlxOp, ir.Value]:
    """Makes the op on rows in three axes, with factors of known size."""
    shape, name = emit.sizes(op.input), op.OPERATION_NAME
    width = op.input.type.shape[-1]
    factors = []
    for what in ("weight", "bias"):
        value = getattr(op, what, None)
        if value is not None and not is_static(value.type.shape[0]):
            message = f"{name}: {what} must have the size of the last axis of input"
            value = emit.fit(value, [width], message)
        factors.append(value)
    rows = op.input
    while rows.type.rank < 3:
        rows = emit.split_axis(rows, 0, [1, emit.dim(rows, 0)])
    while rows.type.rank > 3:
        rows = emit.join_axes(rows, 0)
    if isinstance(op, LayerNormOp):
        result = LayerNormOp.create(rows, *factors, **op.attrs)
    else:
        result = RmsNormOp.create(rows, factors[0], **{**op.attrs, "group": _group(op)})
    made = result.owner.opview
    while result.type.rank > len(shape):
        result = emit.join_axes(result, 0)
    return made, _split_rows(result, shape)


def _split_rows(value: ir.Value, shape: Sequence[emit.Size]) -> ir.Value:
    """``value`` with its first axis split such that its sizes are ``shape``."""
    extra = len(shape) - value.type.rank
    if not extra:
        return value
    static = [size if isinstance(size, int) else code.DYNAMIC for size in shape]
    type_ = ir.RankedTensorType.get(static, value.type.element_type)
    axes = [list(range(extra + 1)), *([axis] for axis in range(extra + 1, len(shape)))]
    dynamic = [size for size in shape if not isinstance(size, int)]
    return tensor.expand_shape(type_, value, axes, dynamic, static)


def build(op: RmsNormOp | LayerNormOp, kernels: Kernels, isa: Isa) -> ir.Value:
    """Emits buffers and the call for an op that :func:`prepare` made; returns the result."""
    element = op.input.type.element_type
    shape = emit.sizes(op.input)
    result = code.alloc(shape, element)
    norm = _Norm(op, isa)
    factors = [v for v in (op.weight, getattr(op, "bias", None)) if v is not None]
    matrix = code.matrix(element, 3)
    types = [matrix, *(code.matrix(v.type.element_type, 1) for v in factors), matrix]
    kind = "layer" if norm.centred else "rms"
    name = kernels.name(f"rlx_{kind}_norm", norm.key(types))
    run = kernels.parallel(name, types, norm.rows)
    count = code.multiply(shape[0], shape[1])
    # About four elements in a nanosecond.
    parts = kernels.parts(count, code.multiply(count, norm.width // 4))
    run(parts, count, *map(code.to_buffer, (op.input, *factors)), result)
    return code.to_tensor(result)


class _Norm:
    """The kernel for one width and one combination of types and attributes."""

    def __init__(self, op: RmsNormOp | LayerNormOp, isa: Isa):
        self.lanes = isa.lanes
        self.centred = isinstance(op, LayerNormOp)
        self.width, self.group = op.input.type.shape[-1], _group(op)
        self.epsilon = op.epsilon
        self.offset = 0.0 if self.centred else op.weight_offset
        self.shared = op.weight is not None and op.weight.type.shape[0] != self.width

    def key(self, types: Sequence[ir.Type]) -> tuple:
        size = (self.lanes, self.width, self.group, self.shared)
        return (*size, self.epsilon, self.offset, *map(str, types))

    def rows(self, _: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        """Normalises some rows, counted over the first two axes."""
        x, *factors, out = buffers
        height = code.dim(x, 1)

        def row(i: ir.Value) -> None:
            at = [arith.divui(i, height), arith.remui(i, height)]
            code.loop(0, self.width, self.group, lambda g: self.row(x, factors, out, at, g))

        code.loop(low, high, 1, row)

    def row(
        self,
        x: ir.Value,
        factors: Sequence[ir.Value],
        out: ir.Value,
        at: Sequence[ir.Value],
        start: ir.Value,
    ) -> None:
        """One group of a row, that begins at ``start``."""
        lanes = self.lanes

        def values(j: Index) -> ir.Value:
            return code.load(x, [*at, code.add(start, j)], lanes)

        mean = None
        if self.centred:
            total = self.sum(lambda value, sums: arith.addf(value, sums), values)
            mean = code.broadcast(self.divide(total), lanes)

        def centred(j: Index) -> ir.Value:
            return values(j) if mean is None else arith.subf(values(j), mean)

        squares = self.sum(lambda value, sums: code.fma(value, value, sums), centred)
        root = math.sqrt(arith.addf(self.divide(squares), code.scalar(self.epsilon)))
        factor = code.broadcast(arith.divf(code.scalar(1.0), root), lanes)

        def scale(j: Index) -> None:
            value = arith.mulf(centred(j), factor)
            place = [j if self.shared else code.add(start, j)]
            if factors:
                weight = code.load(factors[0], place, lanes)
                if self.offset:
                    weight = arith.addf(weight, code.splat(self.offset, lanes))
                value = arith.mulf(value, weight)
            if len(factors) > 1:
                value = arith.addf(value, code.load(factors[1], place, lanes))
            code.store(value, out, [*at, code.add(start, j)])

        code.loop(0, self.group - self.group % lanes, lanes, scale)
        if self.group % lanes:
            # Some elements once more: nothing that they depend on has changed.
            scale(self.group - lanes)

    def divide(self, total: ir.Value) -> ir.Value:
        return arith.divf(total, code.scalar(float(self.group)))

    def sum(
        self,
        add: Callable[[ir.Value, ir.Value], ir.Value],
        values: Callable[[Index], ir.Value],
    ) -> ir.Value:
        """The sum over a group, of vectors that ``add`` adds to others."""
        lanes, size = self.lanes, self.group
        zero = code.splat(0.0, lanes)
        wide = size - size % (_SUMS * lanes)
        whole = size - size % lanes

        def several(j: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            return [add(values(code.add(j, u * lanes)), s) for u, s in enumerate(sums)]

        first, *rest = code.loop(0, wide, _SUMS * lanes, several, [zero] * _SUMS)
        (first,) = code.loop(wide, whole, lanes, lambda j, s: [add(values(j), s)], [first])
        for other in rest:
            first = arith.addf(first, other)
        if size % lanes:
            # The last vector, without what was added before.
            new = code.between(lanes - size % lanes, lanes, lanes)
            value = arith.select(new, add(values(size - lanes), zero), zero)
            first = arith.addf(first, value)
        return code.sum_of(first)
