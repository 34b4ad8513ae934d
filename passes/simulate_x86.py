"""`rlx-simulate-x86`: matrix tiles and bf16 dot products on machines that have none."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlx.host import arith, func, ir, memref, scf, vector
from rlx.passes.base import Pass, PassFailure, parent_of, walk

__all__ = ["SimulateX86"]

_TILE = re.compile(r"!x86\.amx\.tile<(\d+)x(\d+)x(bf16|f32)>")


@dataclass(frozen=True)
class SimulateX86(Pass):
    """Replaces `x86.amx.*` ops on bf16 and `x86.avx512.dot` by loops, with the same results.

    So that kernels can be tested on any machine. What is modelled, after the operation sections of
    Intel's manual (TDPBF16PS and VDPBF16PS): the order of additions, fused multiply-add, rounding
    to the nearest even number, and denormal numbers that count as zero on the way in and out.
    What is not: which NaN a NaN result is. A tile that does not lie inside of its buffer ends the
    process, as it may on a machine that has tiles.

    Runs on buffers, before loops become branches.
    """

    name = "rlx-simulate-x86"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        products = _Products(op)
        for dot in walk(op, "x86.avx512.dot"):
            _dot(dot.operation)
        functions = {_function_of(tile.operation) for tile in walk(op, *_TILE_OPS)}
        for function in walk(op, "func.func"):
            if function.operation in functions:
                _Function(function.operation, products).run()


# -- numbers ---------------------------------------------------------------------------------------


def _ints(lanes: int) -> ir.VectorType:
    return ir.VectorType.get([lanes], ir.IntegerType.get_signless(32))


def _bits(lanes: int, value: int) -> ir.Value:
    i32 = ir.IntegerType.get_signless(32)
    signed = value - (1 << 32) if value >> 31 else value
    attribute = ir.DenseElementsAttr.get_splat(_ints(lanes), ir.IntegerAttr.get(i32, signed))
    return arith.constant(_ints(lanes), attribute)


def _floats(bits: ir.Value) -> ir.Value:
    lanes = bits.type.shape[0]
    return arith.bitcast(ir.VectorType.get([lanes], ir.F32Type.get()), bits)


def _flushed(value: ir.Value) -> ir.Value:
    """A vector with zeros, of the same sign, in place of denormal numbers."""
    lanes = value.type.shape[0]
    bits = arith.bitcast(_ints(lanes), value)
    exponent = arith.andi(bits, _bits(lanes, 0x7F800000))
    tiny = arith.cmpi(arith.CmpIPredicate.eq, exponent, _bits(lanes, 0))
    sign = arith.andi(bits, _bits(lanes, 0x80000000))
    return _floats(arith.select(tiny, sign, bits))


def _pairs(bits: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The lower and the upper bf16 of every lane, as f32."""
    lanes = bits.type.shape[0]
    low = arith.shli(bits, _bits(lanes, 16))
    high = arith.andi(bits, _bits(lanes, 0xFFFF0000))
    return _flushed(_floats(low)), _flushed(_floats(high))


def _fma(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return _flushed(vector.fma(a, b, c))


def _dot(op: ir.Operation) -> None:
    """VDPBF16PS: the upper products are added first."""
    with ir.InsertionPoint(op), op.location:
        total, a, b = op.operands
        ints = _ints(total.type.shape[0])
        low_a, high_a = _pairs(vector.bitcast(ints, a))
        low_b, high_b = _pairs(vector.bitcast(ints, b))
        total = _fma(low_a, low_b, _fma(high_a, high_b, _flushed(total)))
    op.results[0].replace_all_uses_with(total)
    op.erase()


# -- tiles -----------------------------------------------------------------------------------------


def _index(value: int) -> ir.Value:
    return arith.constant(ir.IndexType.get(), value)


def _loop(count: int, body: Callable[[ir.Value], None]) -> None:
    op = scf.ForOp(_index(0), _index(count), _index(1))
    with ir.InsertionPoint(op.body):
        body(op.induction_variable)
        scf.yield_([])


def _is_tile(value: ir.Value) -> bool:
    return str(value.type).startswith("!x86.amx.tile<")


def _shape(value: ir.Value, op: ir.Operation) -> tuple[int, int, str]:
    """Rows, columns and element type of a tile."""
    found = _TILE.fullmatch(str(value.type))
    if found is None:
        raise PassFailure(op, f"expected a tile of bf16 or f32, got '{value.type}'")
    return int(found[1]), int(found[2]), found[3]


def _slot_type(rows: int, columns: int, element: str) -> ir.MemRefType:
    """A tile in memory; pairs of bf16 are integers."""
    if element == "f32":
        return ir.MemRefType.get([rows, columns], ir.F32Type.get())
    return ir.MemRefType.get([rows, columns // 2], ir.IntegerType.get_signless(32))


class _Products:
    """The private functions that multiply tiles, one for each shape."""

    def __init__(self, module: ir.Operation):
        self.module, self.names = module, set[str]()

    def __call__(self, total: ir.Value, a: ir.Value, b: ir.Value) -> None:
        rows, pairs = a.type.shape
        columns = total.type.shape[1]
        name = f"rlx_tdpbf16ps_{rows}x{pairs}x{columns}"
        if name not in self.names:
            self.names.add(name)
            types = [total.type, a.type, b.type]
            with ir.InsertionPoint.at_block_begin(self.module.regions[0].blocks[0]):
                function = func.FuncOp(name, (types, []), visibility="private")
            with ir.InsertionPoint(function.add_entry_block()):
                _product(*function.arguments)
                func.return_([])
        func.CallOp([], ir.FlatSymbolRefAttr.get(name), [total, a, b])


def _product(total: ir.Value, a: ir.Value, b: ir.Value) -> None:
    """TDPBF16PS: lower and upper products are added up apart, then together, then to the total."""
    (rows, pairs), columns = a.type.shape, total.type.shape[1]
    wide = ir.VectorType.get([columns], ir.F32Type.get())

    def row(i: ir.Value) -> None:
        zero = _floats(_bits(columns, 0))
        op = scf.ForOp(_index(0), _index(pairs), _index(1), [zero, zero])
        with ir.InsertionPoint(op.body):
            k = op.induction_variable
            low, high = op.inner_iter_args
            x = vector.broadcast(_ints(columns), memref.load(a, [i, k]))
            low_x, high_x = _pairs(x)
            low_y, high_y = _pairs(vector.load(_ints(columns), b, [k, _index(0)]))
            scf.yield_([_fma(low_x, low_y, low), _fma(high_x, high_y, high)])
        low, high = op.results
        before = _flushed(vector.load(wide, total, [i, _index(0)]))
        after = _flushed(arith.addf(before, _flushed(arith.addf(low, high))))
        vector.store(after, total, [i, _index(0)])

    _loop(rows, row)


class _Function:
    """Keeps every tile of a function in memory of its own."""

    def __init__(self, function: ir.Operation, products: _Products):
        self.function, self.products = function, products

    def run(self) -> None:
        found: list[ir.Operation] = []

        def visit(op: ir.Operation) -> ir.WalkResult:
            if any(map(_is_tile, [*op.operands, *op.results])):
                found.append(op)
            return ir.WalkResult.ADVANCE

        self.function.walk(visit, ir.WalkOrder.PRE_ORDER)
        slots = [self.place(op) for op in found]
        for op, own in zip(found, slots, strict=True):
            with ir.InsertionPoint(op), op.location:
                self.expand(op, own)
        for op in reversed(found):
            if op.name.startswith("x86."):
                op.erase()

    def slot(self, value: ir.Value, op: ir.Operation) -> ir.Value:
        """Memory for a tile that ``op`` makes or carries, for as long as what surrounds it runs."""
        holder: ir.Operation | None = op
        while holder is not None and holder.name not in _HOLDERS:
            holder = parent_of(holder)
        if holder is None:
            raise PassFailure(op, "expected tiles inside of a function")
        with ir.InsertionPoint.at_block_begin(holder.regions[0].blocks[0]), op.location:
            return memref.alloca(_slot_type(*_shape(value, op)), [], [], alignment=64)

    def place(self, op: ir.Operation) -> list[ir.Value]:
        """Puts slots in place of the tiles that ``op`` makes or carries."""
        if op.name not in _KNOWN:
            raise PassFailure(op, f"tiles of '{op.name}' cannot be simulated")
        slots = []
        for position in _tiles(op):
            result = op.results[position]
            slots.append(self.slot(result, op))
            result.replace_all_uses_with(slots[-1])
            if op.name == "scf.for":
                op.regions[0].blocks[0].arguments[position + 1].replace_all_uses_with(slots[-1])
        return slots

    def expand(self, op: ir.Operation, slots: Sequence[ir.Value]) -> None:
        if op.name == "x86.amx.tile_zero":
            _clear(slots[0])
        elif op.name == "x86.amx.tile_load":
            _load(op, slots[0])
        elif op.name == "x86.amx.tile_store":
            _store(op)
        elif op.name == "x86.amx.tile_mulf":
            a, b, total = op.operands
            memref.copy(total, slots[0])
            self.products(slots[0], a, b)
        elif op.name == "scf.for":
            self.carry(op, slots)
        elif op.name == "scf.if":
            for region in op.regions:
                end = _last(region)
                with ir.InsertionPoint(end):
                    for position, slot in zip(_tiles(op), slots, strict=True):
                        memref.copy(end.operands[position], slot)
                        end.operands[position] = slot
            _set_types(op, slots)

    def carry(self, op: ir.Operation, slots: Sequence[ir.Value]) -> None:
        """Copies tiles into the slots of what a loop carries, before it and at its end."""
        positions = _tiles(op)
        spare = [self.slot(op.results[position], op) for position in positions]
        for position, slot in zip(positions, slots, strict=True):
            memref.copy(op.operands[position + 3], slot)
            op.operands[position + 3] = slot
        end = _last(op.regions[0])
        with ir.InsertionPoint(end):
            # What the loop carries may change places.
            for position, copy in zip(positions, spare, strict=True):
                memref.copy(end.operands[position], copy)
            for position, copy, slot in zip(positions, spare, slots, strict=True):
                memref.copy(copy, slot)
                end.operands[position] = slot
        for position, slot in zip(positions, slots, strict=True):
            op.regions[0].blocks[0].arguments[position + 1].set_type(slot.type)
        _set_types(op, slots)


_TILE_OPS = ("x86.amx.tile_zero", "x86.amx.tile_load", "x86.amx.tile_mulf", "x86.amx.tile_store")
_HOLDERS = ("func.func", "scf.parallel", "scf.forall", "omp.parallel")
_KNOWN = (*_TILE_OPS, "scf.for", "scf.if", "scf.yield")


def _function_of(op: ir.Operation) -> ir.Operation | None:
    holder = parent_of(op)
    while holder is not None and holder.name != "func.func":
        holder = parent_of(holder)
    return holder


def _tiles(op: ir.Operation) -> list[int]:
    return [position for position, value in enumerate(op.results) if _is_tile(value)]


def _set_types(op: ir.Operation, slots: Sequence[ir.Value]) -> None:
    for position, slot in zip(_tiles(op), slots, strict=True):
        op.results[position].set_type(slot.type)


def _last(region: ir.Region) -> ir.Operation:
    *_, last = region.blocks[0].operations
    return last.operation


def _clear(slot: ir.Value) -> None:
    rows, columns = slot.type.shape
    type_ = ir.VectorType.get([columns], slot.type.element_type)
    zero = arith.bitcast(type_, _bits(columns, 0))
    _loop(rows, lambda row: vector.store(zero, slot, [row, _index(0)]))


def _load(op: ir.Operation, slot: ir.Value) -> None:
    base, *indices = _operands(op)
    _, columns, _ = _shape(op.results[0], op)
    slot_row = ir.VectorType.get([slot.type.shape[1]], slot.type.element_type)
    base_row = ir.VectorType.get([columns], base.type.element_type)

    def row(i: ir.Value) -> None:
        at = [*indices[:-2], arith.addi(indices[-2], i), indices[-1]]
        _check(base, at, columns)
        value = vector.bitcast(slot_row, vector.load(base_row, base, at))
        vector.store(value, slot, [i, _index(0)])

    _loop(slot.type.shape[0], row)


def _store(op: ir.Operation) -> None:
    base, *indices, slot = _operands(op)
    rows, lanes = slot.type.shape
    columns = lanes * (1 if base.type.element_type == ir.F32Type.get() else 2)
    slot_row = ir.VectorType.get([lanes], slot.type.element_type)
    base_row = ir.VectorType.get([columns], base.type.element_type)

    def row(i: ir.Value) -> None:
        at = [*indices[:-2], arith.addi(indices[-2], i), indices[-1]]
        _check(base, at, columns)
        value = vector.load(slot_row, slot, [i, _index(0)])
        vector.store(vector.bitcast(base_row, value), base, at)

    _loop(rows, row)


def _operands(op: ir.Operation) -> list[ir.Value]:
    """The buffer, its indices, and what is stored if anything is."""
    if list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))[-1]:
        raise PassFailure(op, "expected a tile whose rows lie as those of its buffer, got a stride")
    return list(op.operands)


def _check(base: ir.Value, at: Sequence[ir.Value], columns: int) -> None:
    """Ends the process unless ``columns`` elements from ``at`` on lie in the buffer."""
    ends = [arith.addi(i, _index(1)) for i in at[:-1]] + [arith.addi(at[-1], _index(columns))]
    checks = []
    for axis, (first, end) in enumerate(zip(at, ends, strict=True)):
        size = memref.DimOp(base, _index(axis)).result
        checks.append(arith.cmpi(arith.CmpIPredicate.slt, first, _index(0)))
        checks.append(arith.cmpi(arith.CmpIPredicate.sgt, end, size))
    outside = checks[0]
    for check in checks[1:]:
        outside = arith.ori(outside, check)
    with ir.InsertionPoint(scf.IfOp(outside).then_block):
        ir.Operation.create("llvm.intr.trap")
        scf.yield_([])
