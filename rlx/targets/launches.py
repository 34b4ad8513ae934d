"""The host side of a GPU program as data: what is launched, on which memory."""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.diagnostics import CompileError, Diagnostic, format_location
from rlx.host import func, ir
from rlx.runtime.cuda.expressions import OPERATIONS, PREDICATES, Expression
from rlx.runtime.cuda.plan import Buffer, Check, Parameter, Place, Plan, Result, Step
from rlx.schedules.cuda.flatten import dynamic_parts, has_dynamic_offset
from rlx.schedules.cuda.loops import width
from rlx.schedules.cuda.outline import STATUS_BUFFER
from rlx.schedules.cuda.repeated import ONCE

__all__ = ["launches"]


def launches(module: ir.Module, function: func.FuncOp, arch: str, messages: list[str]) -> Plan:
    """What a function does after the stage ``"gpu"``.

    Args:
        module: holds the function.
        function: one block of launches and arithmetic on sizes.
        arch: what the kernels are for.
        messages: texts of checks; those of checks of sizes are added.

    Raises:
        CompileError: the function holds an op that only a device could run.
    """
    return _Reader(module, function, arch, messages).read()


@dataclass(frozen=True)
class _View:
    """A buffer: where it is, and numbers of expressions for its layout, in elements."""

    place: Place
    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]


class _Unsupported(Exception):
    pass


class _Reader:
    def __init__(self, module: ir.Module, function: func.FuncOp, arch: str, messages: list[str]):
        self.module, self.function, self.arch, self.messages = module, function, arch, messages
        self.table: list[Expression] = []
        self.numbers: dict[str, int] = {}
        self.scalars: dict[ir.Value, int] = {}
        self.views: dict[ir.Value, _View] = {}
        self.maps: dict[ir.Value, Parameter] = {}
        self.checks: list[Check] = []
        self.sizes: list[int] = []  # bytes of each allocation
        self.used: dict[int, tuple[int, int]] = {}  # first and last step of each
        self.constants: list[str] = []
        self.globals: dict[str, int] = {}
        self.steps: list[Step] = []
        self.results: dict[int, Result] = {}
        self.returned: dict[int, int] = {}

    def read(self) -> Plan:
        (block,) = self.function.operation.regions[0].blocks
        for number, argument in enumerate(block.arguments):
            self.argument(argument, number)
        for op in block.operations:
            try:
                self.op(op.operation)
            except _Unsupported as error:
                text = f"'{op.operation.name}' op {error}"
                entry = Diagnostic("error", format_location(op.location), text)
                raise CompileError("the function cannot run on a GPU", (entry,)) from None
        return self.plan()

    def plan(self) -> Plan:
        # Allocations that are returned are results; the others share the workspace.
        workspace = [n for n in self.used if n not in self.returned]
        new = {n: at for at, n in enumerate(workspace)}

        def place(old: Place) -> Place:
            kind, n = old
            if kind != "workspace":
                return old
            return ("result", self.returned[n]) if n in self.returned else ("workspace", new[n])

        steps = tuple(
            Step(
                step.kernel,
                step.grid,
                step.block,
                step.shared,
                tuple(Parameter(**{**vars(p), "place": place(p.place)}) for p in step.parameters),
                step.cluster,
                step.once,
            )
            for step in self.steps
        )
        return Plan(
            self.arch,
            tuple(self.table),
            tuple(self.checks),
            tuple(Buffer(self.sizes[n], *self.used[n]) for n in workspace),
            tuple(self.results[n] for n in sorted(self.results)),
            tuple(self.constants),
            steps,
        )

    # -- expressions

    def expression(self, op: str, type_: str, *operands: Any) -> int:
        """The number of an expression; equal ones have one."""
        node = [op, type_, *operands]
        folded = self.fold(node)
        key = repr(folded)
        if key not in self.numbers:
            self.numbers[key] = len(self.table)
            self.table.append(folded)
        return self.numbers[key]

    def fold(self, node: Expression) -> Expression:
        op, type_, *operands = node
        if op not in OPERATIONS or type_ != "index":
            return node
        known = [self.table[n] for n in operands]
        if all(k[0] == "constant" for k in known):
            return ["constant", type_, OPERATIONS[op](*(k[2] for k in known))]
        if op in ("muli", "addi"):
            neutral = 1 if op == "muli" else 0
            for mine, other in ((known[0], known[1]), (known[1], known[0])):
                if mine[0] == "constant" and mine[2] == neutral:
                    return other
        return node

    def constant(self, value: int) -> int:
        return self.expression("constant", "index", value)

    def product(self, numbers: Sequence[int]) -> int:
        total = self.constant(1)
        for number in numbers:
            total = self.expression("muli", "index", total, number)
        return total

    def scalar(self, value: ir.Value) -> int:
        if value not in self.scalars:
            raise _Unsupported("takes a value that is not known on the host")
        return self.scalars[value]

    # -- buffers

    def whole(self, type_: ir.MemRefType, place: Place, dynamic: Sequence[int]) -> _View:
        """A contiguous buffer with these dynamic sizes."""
        left = iter(dynamic)
        sizes = [
            next(left) if type_.is_dynamic_dim(axis) else self.constant(type_.shape[axis])
            for axis in range(type_.rank)
        ]
        strides = [self.product(sizes[axis + 1 :]) for axis in range(type_.rank)]
        return _View(place, self.constant(0), tuple(sizes), tuple(strides))

    def argument(self, value: ir.Value, number: int) -> None:
        type_ = value.type
        if isinstance(type_, ir.MemRefType):
            dynamic = [
                self.expression("size", "index", number, axis)
                for axis in range(type_.rank)
                if type_.is_dynamic_dim(axis)
            ]
            self.views[value] = self.whole(type_, ("argument", number), dynamic)
        else:
            self.scalars[value] = self.expression("scalar", str(type_), number)

    def bytes(self, view: _View, type_: ir.MemRefType) -> int:
        elements = self.product(view.sizes)
        return self.product([elements, self.constant(width(type_.element_type) // 8)])

    def mixed(self, op: ir.Operation, name: str, dynamic: Sequence[ir.Value]) -> list[int]:
        """Offsets, sizes or strides, static ones from an attribute."""
        left = iter(dynamic)
        marker = ir.ShapedType.get_dynamic_size()
        static = list(ir.DenseI64ArrayAttr(op.attributes[name]))
        return [self.scalar(next(left)) if n == marker else self.constant(n) for n in static]

    # -- ops

    def op(self, op: ir.Operation) -> None:
        name = op.name
        handler = getattr(self, "_" + name.replace(".", "_"), None)
        if handler is not None:
            handler(op)
        elif name.startswith(("arith.", "math.")):
            self.arithmetic(op)
        else:
            raise _Unsupported("has no lowering to a GPU outside of a kernel")

    def arithmetic(self, op: ir.Operation) -> None:
        name = op.name.partition(".")[2]
        result = op.results[0]
        if name == "cmpi":
            name = PREDICATES[ir.IntegerAttr(op.attributes["predicate"]).value]
        if name not in OPERATIONS:
            raise _Unsupported("is no arithmetic on sizes")
        operands = [self.scalar(value) for value in op.operands]
        self.scalars[result] = self.expression(name, str(result.type), *operands)

    def _arith_constant(self, op: ir.Operation) -> None:
        value, type_ = op.attributes["value"], op.results[0].type
        if isinstance(value, ir.IntegerAttr | ir.BoolAttr | ir.FloatAttr):
            number = value.value
            number = int(number) if isinstance(value, ir.BoolAttr) else number
            self.scalars[op.results[0]] = self.expression("constant", str(type_), number)

    def _memref_alloc(self, op: ir.Operation) -> None:
        type_ = op.results[0].type
        place = ("workspace", len(self.sizes))
        view = self.whole(type_, place, [self.scalar(v) for v in op.operands])
        self.views[op.results[0]] = view
        self.sizes.append(self.bytes(view, type_))

    def _memref_cast(self, op: ir.Operation) -> None:
        self.views[op.results[0]] = self.views[op.operands[0]]

    def _memref_dim(self, op: ir.Operation) -> None:
        axis = self.table[self.scalar(op.operands[1])][2]
        self.scalars[op.results[0]] = self.views[op.operands[0]].sizes[axis]

    def _memref_reinterpret_cast(self, op: ir.Operation) -> None:
        count = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))
        operands = list(op.operands)
        parts = []
        at = 0
        for size in count:
            parts.append(operands[at : at + size])
            at += size
        (offset,) = self.mixed(op, "static_offsets", parts[1])
        sizes = self.mixed(op, "static_sizes", parts[2])
        strides = self.mixed(op, "static_strides", parts[3])
        place = self.views[operands[0]].place
        self.views[op.results[0]] = _View(place, offset, tuple(sizes), tuple(strides))

    def _memref_extract_strided_metadata(self, op: ir.Operation) -> None:
        view, rank = self.views[op.operands[0]], op.operands[0].type.rank
        base, offset, *rest = op.results
        self.views[base] = _View(view.place, self.constant(0), (), ())
        self.scalars[offset] = view.offset
        for value, number in zip(rest, [*view.sizes, *view.strides], strict=True):
            self.scalars[value] = number
        assert len(rest) == 2 * rank

    def _memref_get_global(self, op: ir.Operation) -> None:
        name = ir.FlatSymbolRefAttr(op.attributes["name"]).value
        if name == STATUS_BUFFER:
            place: Place = ("status", 0)
            self.views[op.results[0]] = self.whole(op.results[0].type, place, [])
            return
        if name not in self.globals:
            self.globals[name] = len(self.constants)
            self.constants.append(self.content(name))
        place = ("constant", self.globals[name])
        self.views[op.results[0]] = self.whole(op.results[0].type, place, [])

    def content(self, name: str) -> str:
        for op in self.module.body.operations:
            if op.operation.name == "memref.global":
                found = op.operation
                if ir.StringAttr(found.attributes["sym_name"]).value == name:
                    return base64.b64encode(_content(found.attributes["initial_value"])).decode()
        raise _Unsupported(f"names '{name}', which is not there")

    def _cf_assert(self, op: ir.Operation) -> None:
        text = ir.StringAttr(op.attributes["msg"]).value
        if text not in self.messages:
            self.messages.append(text)
        self.checks.append(Check(self.scalar(op.operands[0]), self.messages.index(text)))

    def _nvgpu_tma_create_descriptor(self, op: ir.Operation) -> None:
        view = self.views[op.operands[0]]
        box = []
        for value in list(op.operands)[1:]:
            box.append(self.scalar(value))
        type_ = str(op.results[0].type)
        swizzle = 0
        for size in (32, 64, 128):
            if f"swizzle_{size}b" in type_:
                swizzle = size
        element = str(op.operands[0].type.element_type)
        self.maps[op.results[0]] = Parameter(
            "tensor_map",
            element,
            view.place,
            view.offset,
            view.sizes,
            view.strides,
            box=tuple(box),
            swizzle=swizzle,
        )

    def _gpu_launch_func(self, op: ir.Operation) -> None:
        view = op.opview
        kernel = str(op.attributes["kernel"]).rpartition("@")[2]
        parameters = tuple(self.parameter(value) for value in view.kernelOperands)
        shared = view.dynamicSharedMemorySize
        cluster = (view.clusterSizeX, view.clusterSizeY, view.clusterSizeZ)
        step = Step(
            kernel,
            tuple(map(self.scalar, (view.gridSizeX, view.gridSizeY, view.gridSizeZ))),
            tuple(map(self.scalar, (view.blockSizeX, view.blockSizeY, view.blockSizeZ))),
            self.constant(0) if shared is None else self.scalar(shared),
            parameters,
            tuple(map(self.scalar, cluster)) if cluster[0] is not None else (),
            ONCE in op.attributes,
        )
        for parameter in parameters:
            kind, number = parameter.place
            if kind == "workspace":
                first = self.used.get(number, (len(self.steps), 0))[0]
                self.used[number] = (first, len(self.steps))
        self.steps.append(step)

    def parameter(self, value: ir.Value) -> Parameter:
        if value in self.maps:
            return self.maps[value]
        if value not in self.views:
            return Parameter("number", str(value.type), value=self.scalar(value))
        view, type_ = self.views[value], value.type
        sizes, strides = dynamic_parts(type_)
        return Parameter(
            "buffer",
            str(type_.element_type),
            view.place,
            view.offset,
            view.sizes,
            view.strides,
            has_dynamic_offset(type_),
            tuple(sizes),
            tuple(strides),
        )

    def _func_return(self, op: ir.Operation) -> None:
        for number, value in enumerate(op.operands):
            if value not in self.views:
                raise _Unsupported("returns a number; only buffers come back from a GPU")
            view = self.views[value]
            kind, allocation = view.place
            if kind != "workspace" or allocation in self.returned:
                raise _Unsupported("returns what is no buffer of its own")
            self.returned[allocation] = number
            self.results[number] = Result(self.sizes[allocation], view.sizes)


def _content(value: ir.Attribute) -> bytes:
    """The elements of a dense attribute as they lie in memory."""
    dense = ir.DenseElementsAttr(value)
    type_ = ir.ShapedType(dense.type)
    if isinstance(type_.element_type, ir.BF16Type):
        # The bindings do not read these.
        text = str(dense)
        if match := re.match(r'dense<"0x([0-9A-F]*)"', text):
            return bytes.fromhex(match[1])
        body = text[: text.rindex(">")].rpartition(" : ")[0]
        found = [_bf16(word) for word in re.findall(r"0x[0-9A-F]+|-?\d[\d.eE+-]*", body)]
        array = np.array(found, np.uint16)
    else:
        array = np.array(dense)
    count = math.prod(type_.shape)
    if array.size != count:
        array = np.broadcast_to(array.reshape(-1)[:1], (count,))
    return np.ascontiguousarray(array).tobytes()


def _bf16(word: str) -> int:
    """The bits of an element as it is printed."""
    if word.startswith("0x"):
        return int(word, 16)
    return int(np.array(float(word), dtypes.NAMES["bf16"]).view(np.uint16))
