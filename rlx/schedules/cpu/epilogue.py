"""What is done to a product before it is written: an elementwise op that reads nothing else of it.

Linalg is where products and what follows them meet: bias, residual, activation, scaling and the two
halves of a gated unit are, by then, one `linalg.generic` that reads the product as it is or in
slices of columns. A kernel computes it for every block of the product while that is in the cache.

Between the ops of a body everything is f32: what is rounded to 16 bits and widened again there
keeps its accuracy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlx.dialects import emit
from rlx.dialects.types import is_static
from rlx.host import arith, ir, tensor
from rlx.passes.base import parent_of
from rlx.schedules.cpu import code
from rlx.schedules.cpu.bodies import FLOATS, apply_body, body_key, index_of
from rlx.schedules.cpu.code import Index, Kernel, Kernels
from rlx.schedules.cpu.isa import Isa
from rlx.schedules.cpu.layout import PANEL

__all__ = ["Epilogue", "Found", "find", "finish_all", "finish_kernel", "rounding"]


@dataclass(frozen=True)
class Epilogue:
    """What is done to a block of a product, as code.

    Attributes:
        key: equal for equal code.
        offsets: where in the columns of the product the pieces start that it reads.
        kinds: of the other operands: ``"all"`` [M, N], ``"row"`` [M], or ``"column"`` [N].
        operands: the element types of the other operands.
        result: the element type of what it writes.
        apply: takes a vector of f32 per piece and per operand, and returns one.
    """

    key: Any
    offsets: tuple[int, ...]
    kinds: tuple[str, ...]
    operands: tuple[ir.Type, ...]
    result: ir.Type
    apply: Callable[[Sequence[ir.Value]], ir.Value]

    def name(self, kernels: Kernels, prefix: str) -> str:
        """A name for a kernel with this epilogue."""
        return kernels.name(prefix, self.key)

    def types(self) -> list[ir.MemRefType]:
        """Of the buffers of the other operands and of the result."""
        ranks = [2 if kind == "all" else 1 for kind in self.kinds]
        found = [code.matrix(t, rank) for t, rank in zip(self.operands, ranks, strict=True)]
        return [*found, code.matrix(self.result)]


def rounding(element: ir.Type) -> Epilogue:
    """Rounds the product to ``element``."""
    return Epilogue(("round", str(element)), (0,), (), (), element, lambda vectors: vectors[0])


def finish_kernel(kernels: Kernels, epilogue: Epilogue, isa: Isa) -> Kernel:
    """Applies an epilogue to a block.

    The kernel takes the pieces, f32 [rows, columns], the buffers of :meth:`Epilogue.types` as a
    whole, and the row and the column of the result at which the block starts.
    """
    index = ir.IndexType.get()
    pieces = len(epilogue.offsets)
    matrix = code.matrix(code.f32())

    def body(*arguments: ir.Value) -> None:
        *buffers, row, column = arguments
        blocks, others, result = buffers[:pieces], buffers[pieces:-1], buffers[-1]

        def one_row(i: ir.Value) -> None:
            at_row = code.add(row, i)
            rows = {
                n: code.broadcast(code.load_scalar(others[n], [at_row]), isa.lanes)
                for n, kind in enumerate(epilogue.kinds)
                if kind == "row"
            }

            def vector(j: ir.Value, inside: Index | None) -> None:
                at = code.add(column, j)
                values = [code.load(block, [i, j], isa.lanes, inside) for block in blocks]
                for n, kind in enumerate(epilogue.kinds):
                    place = [at_row, at] if kind == "all" else [at]
                    loaded = rows.get(n)
                    if loaded is None:
                        loaded = code.load(others[n], place, isa.lanes, inside)
                    values.append(loaded)
                code.store(epilogue.apply(values), result, [at_row, at], inside)

            code.vectors(code.dim(blocks[0], 1), isa.lanes, vector)

        code.loop(0, code.dim(blocks[0], 0), 1, one_row)

    name = epilogue.name(kernels, f"rlx_matmul_{isa.name}_finish")
    return kernels.define(name, [*[matrix] * pieces, *epilogue.types(), index, index], body)


def finish_all(kernels: Kernels, epilogue: Epilogue, isa: Isa) -> Kernel:
    """Applies an epilogue to a whole product, f32 [M, N]; takes the buffers after it."""
    finish = finish_kernel(kernels, epilogue, isa)
    types = [code.matrix(code.f32()), *epilogue.types()]
    name = epilogue.name(kernels, f"rlx_matmul_{isa.name}_finish_all")

    def some_rows(_: ir.Value, low: ir.Value, high: ir.Value, *buffers: ir.Value) -> None:
        product, *others = buffers
        shape = [code.subtract(high, low), code.dim(others[-1], 1)]
        pieces = [code.part(product, [low, offset], shape) for offset in epilogue.offsets]
        finish(*pieces, *others, low, 0)

    run = kernels.parallel(name, types, some_rows)

    def emit_call(*buffers: ir.Value) -> None:
        rows, columns = (code.dim(buffers[-1], axis) for axis in (0, 1))
        elements = code.multiply(rows, columns)
        run(kernels.parts(rows, arith.divui(elements, code.index(2))), rows, *buffers)

    return emit_call


# -- in the IR -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """An op that can become the epilogue of a product.

    Attributes:
        epilogue: what it does.
        consumer: the op.
        operands: the tensors it reads besides the product.
        between: the ops between the product and it, in order.
        leading: sizes of the axes that are the rows of the product, where they are several.
    """

    epilogue: Epilogue
    consumer: ir.Operation
    operands: tuple[ir.Value, ...]
    between: tuple[ir.Operation, ...]
    leading: tuple[emit.Size, ...]

    @property
    def width(self) -> int:
        """Columns of the result."""
        return self.consumer.results[0].type.shape[-1]

    def matrices(self) -> list[ir.Value]:
        """The operands, with all rows in one axis; emitted at the insertion point."""
        found = []
        for value, kind in zip(self.operands, self.epilogue.kinds, strict=True):
            while value.type.rank > {"all": 2, "row": 1, "column": 1}[kind]:
                value = emit.join_axes(value, 0)
            found.append(value)
        return found

    def replace(self, result: ir.Value) -> None:
        """Puts ``result`` [M, N] in the place of what the op computes."""
        old = self.consumer.results[0]
        if self.leading:
            sizes, last = [*self.leading, self.width], len(self.leading)
            static = [size if isinstance(size, int) else code.DYNAMIC for size in sizes]
            result = tensor.expand_shape(
                ir.RankedTensorType.get(static, old.type.element_type),
                result,
                [list(range(last)), [last]],
                [size for size in sizes if not isinstance(size, int)],
                static,
            )
        if result.type != old.type:
            result = tensor.cast(old.type, result)
        old.replace_all_uses_with(result)
        self.consumer.erase()
        for op in reversed(self.between):
            op.erase()


def find(product: ir.Value) -> Found | None:
    """The only op that reads ``product`` [M, N], if it can become an epilogue.

    To ask for the number of rows is not to read; it is answered from the product's input.
    """
    rows = emit.dim(product.owner.operation.operands[0], 0)
    for use in list(product.uses):
        user = use.owner.operation
        if user.name == "tensor.dim" and index_of(user.operands[1]) == 0:
            user.results[0].replace_all_uses_with(emit.as_index(rows))
            user.erase()
    between: list[ir.Operation] = []
    leading: tuple[emit.Size, ...] = ()
    value = product
    user = _only_user(value)
    if user is not None and user.name == "tensor.expand_shape":
        groups = [[i.value for i in group] for group in user.attributes["reassociation"]]
        last = user.results[0].type.rank - 1
        if groups != [list(range(last)), [last]]:
            return None
        dynamic = iter(list(user.operands)[1:])
        sizes = list(ir.DenseI64ArrayAttr(user.attributes["static_output_shape"]))
        leading = tuple(size if is_static(size) else next(dynamic) for size in sizes[:-1])
        between.append(user)
        value = user.results[0]
    pieces = _pieces(value, leading or (rows,))
    if pieces is None:
        return None
    between += [piece.owner.operation for piece in pieces if piece != value]
    user = _only_user(next(iter(pieces)))
    if (
        user is None
        or user.name != "linalg.generic"
        or not _is_as_often(user, product.owner.operation.block)
        or any(_only_user(piece) != user for piece in pieces)
    ):
        return None
    return _absorb(user, pieces, between, leading)


def _only_user(value: ir.Value) -> ir.Operation | None:
    users = {use.owner.operation for use in value.uses}
    return users.pop() if len(users) == 1 else None


def _is_as_often(op: ir.Operation, block: ir.Block) -> bool:
    """Whether ``op`` is in ``block``, or runs at most once whenever that does."""
    while op.block != block:
        parent = parent_of(op)
        if parent is None or parent.name != "scf.if":
            return False
        op = parent
    return True


def _pieces(value: ir.Value, leading: tuple[emit.Size, ...]) -> dict[ir.Value, int] | None:
    """``value``, or the slices of its columns that are all that uses it, and where they start."""
    users = list(dict.fromkeys(use.owner.operation for use in value.uses))
    if len(users) == 1 and users[0].name != "tensor.extract_slice":
        return {value: 0}
    found: dict[ir.Value, int] = {}
    for user in users:
        if user.name != "tensor.extract_slice" or user.results[0].type.rank != value.type.rank:
            return None
        offsets, strides = (
            list(ir.DenseI64ArrayAttr(user.attributes[name]))
            for name in ("static_offsets", "static_strides")
        )
        whole = zip(_sizes(user), leading, strict=False)
        start = offsets[-1]
        fits = (
            set(strides) == {1}
            and not any(offsets[:-1])
            and is_static(start)
            and start % PANEL == 0
            and is_static(user.results[0].type.shape[-1])
            and all(emit.known_equal(a, b) for a, b in whole)
        )
        if not fits:
            return None
        found[user.results[0]] = start
    return found or None


def _sizes(op: ir.Operation) -> list[emit.Size]:
    """The sizes of a `tensor.extract_slice`."""
    _, offsets, sizes, _ = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))
    dynamic = iter(list(op.operands)[1 + offsets : 1 + offsets + sizes])
    static = list(ir.DenseI64ArrayAttr(op.attributes["static_sizes"]))
    return [size if is_static(size) else next(dynamic) for size in static]


def _absorb(
    op: ir.Operation,
    pieces: dict[ir.Value, int],
    between: list[ir.Operation],
    leading: tuple[emit.Size, ...],
) -> Found | None:
    """An elementwise `linalg.generic` of ``pieces`` as their epilogue."""
    type_ = op.results[0].type if len(op.results) == 1 else None
    rank = next(iter(pieces)).type.rank
    if any("parallel" not in str(kind) for kind in op.attributes["iterator_types"]):
        return None
    if not isinstance(type_, ir.RankedTensorType) or type_.rank != rank:
        return None
    axes = [_axes(ir.AffineMapAttr(map_).value) for map_ in op.attributes["indexing_maps"]]
    all_axes = list(range(rank))
    kind_of = {tuple(all_axes): "all", tuple(all_axes[:-1]): "row", (rank - 1,): "column"}
    if axes[-1] != all_axes or any(p.type.shape[-1] != type_.shape[-1] for p in pieces):
        return None
    block = op.regions[0].blocks[0]
    slots: dict[ir.Value, int] = {}
    operands: list[ir.Value] = []
    kinds: list[str] = []
    for argument, value, own in zip(block.arguments, op.operands, axes, strict=True):
        if not list(argument.uses):
            continue
        if value in pieces:
            if own != all_axes:
                return None
            slots[argument] = list(pieces).index(value)
            continue
        kind = kind_of.get(tuple(own)) if own is not None else None
        if kind is None or not isinstance(value.type, ir.RankedTensorType):
            return None
        slots[argument] = len(pieces) + len(operands)
        operands.append(value)
        kinds.append(kind)
    elements = [value.type.element_type for value in (*pieces, *operands, op.results[0])]
    key = body_key(block, slots)
    if key is None or not all(isinstance(element, FLOATS) for element in elements):
        return None
    types = tuple(elements[len(pieces) : -1])
    epilogue = Epilogue(
        (key, tuple(kinds), tuple(map(str, elements)), tuple(pieces.values())),
        tuple(pieces.values()),
        tuple(kinds),
        types,
        elements[-1],
        lambda vectors: apply_body(block, slots, vectors),
    )
    return Found(epilogue, op, tuple(operands), tuple(between), leading)


def _axes(map_: ir.AffineMap) -> list[int] | None:
    """The loops that the axes of an operand run along."""
    if not all(isinstance(expr, ir.AffineDimExpr) for expr in map_.results):
        return None
    return [ir.AffineDimExpr(expr).position for expr in map_.results]
