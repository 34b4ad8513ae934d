"""`rlx-cuda-outline`: everything that computes becomes a kernel."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rlx.diagnostics import PassFailure
from rlx.host import arith, func, gpu, ir, linalg, memref, scf
from rlx.passes.base import Pass
from rlx.passes.clone import all_ops, clone
from rlx.passes.functions import functions, is_public
from rlx.passes.lower_asserts import MESSAGES
from rlx.schedules.cuda import plain
from rlx.schedules.cuda.checks import take_checks, tell, tell_once
from rlx.schedules.cuda.fills import fill_directly, fold_fills, root_of
from rlx.schedules.cuda.inline import inline_calls
from rlx.schedules.cuda.kernels import CONTAINER, Kernels
from rlx.schedules.cuda.repeated import mark_checks
from rlx.schedules.cuda.unroll import Guards, unroll

__all__ = ["STATUS_BUFFER", "Outline"]

STATUS_BUFFER = "rlx_status"
"""The buffer that numbers of checks that failed are written to; 0 for none."""

_HOST = ("arith.", "math.", "memref.", "gpu.", "nvgpu.", "func.call")
_STATUS_TYPE = "memref<1xi64>"


@dataclass(frozen=True)
class Outline(Pass):
    """Makes kernels of what computes on buffers, and leaves arithmetic on sizes and launches.

    Every `linalg.generic`, copy, load and store becomes a kernel, equal ones the same; what a load
    brings is a buffer that later kernels read. A check of sizes stays a `cf.assert`; a check of
    what only the device knows becomes a kernel that writes its number to the buffer `@rlx_status`.
    Loops whose number of steps is known are unrolled, and so are those that run once or never as
    the device tells. Functions that are called are then inlined. Runs on buffers.
    """

    name = "rlx-cuda-outline"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        outliner = _Outliner(op)
        for function in functions(op):
            if not function.is_external:
                outliner.function(function)
        inline_calls(op)
        for function in functions(op):
            if not function.is_external:
                mark_checks(function.operation, outliner.kernels.container().owner)
        if outliner.messages:
            texts = ir.ArrayAttr.get([ir.StringAttr.get(m, op.context) for m in outliner.messages])
            op.attributes[MESSAGES] = texts


Emit = Callable[[plain.Mapping], None]


class _Outliner:
    def __init__(self, module: ir.Operation):
        self.module = module
        self.kernels = Kernels(module)
        self.texts: dict[str, str] = {}
        self.messages: list[str] = []
        self.on_device: set[ir.Value] = set()
        self.status: ir.Value | None = None
        self.initial: dict[ir.Operation, ir.Attribute] = {}
        self.guards: Guards = {}
        self.checks: dict[ir.Operation, str] = {}
        self.conditions: list[ir.Value] = []  # what the op that is outlined depends on

    def function(self, function: func.FuncOp) -> None:
        (block,) = _only_block(function)
        self.on_device, self.status = set(), None
        self.guards = unroll(function)
        fill_directly(block, self.guards)
        self.initial = fold_fills(block)
        self.checks = take_checks(block, self.guards)
        for op in [inner.operation for inner in block.operations]:
            self.conditions = [cast.operands[0] for cast in self.guards.get(op, [])]
            with op.location, ir.InsertionPoint(op):
                self.op(op, function)

    def op(self, op: ir.Operation, function: func.FuncOp) -> None:
        if op.name == "linalg.generic" and not op.results:
            self.generic(op)
        elif op.name == "memref.copy":
            self.copy(*op.operands)
            op.erase()
        elif op.name == "memref.load":
            self.load(op)
        elif op.name == "memref.store":
            self.single("store", [op])
            op.erase()
        elif op.name == "cf.assert":
            if op.operands[0] in self.on_device:
                self.check(op)
        elif op.name == "func.return":
            self.results(op, is_public(function))
        elif any(value in self.on_device for value in op.operands):
            if not op.name.startswith(("arith.", "math.", "memref.reinterpret_cast")):
                raise PassFailure(op, f"'{op.name}' op takes a value that only the device knows")
            self.on_device.update(op.results)
        elif not op.name.startswith(_HOST) or any(region.blocks for region in op.regions):
            text = f"'{op.name}' op has no lowering to a GPU outside of a kernel"
            if op.name in ("scf.for", "scf.while", "scf.parallel", "scf.forall"):
                text += ": how many steps it takes is not known before it runs"
            raise PassFailure(op, text)

    # -- kinds of kernels

    def generic(self, op: ir.Operation) -> None:
        loops, initial = plain.analyse(op), self.initial.get(op)
        if not loops.parallel:
            kind = "reduce_all"
        else:
            kind = "reduce" if loops.reduction else "elementwise"
        also = []
        if (text := self.checks.get(op)) is not None:
            kind, number, status = "check_all", self.number_of(text), self.status_buffer(op)
            also.append(status)

        def emit(mapping: plain.Mapping) -> None:
            plain.emit_body(op, loops, mapping, initial)
            if text is not None:
                found = op.operands[len(op.operands) - 1]
                tell_once(mapping[found], mapping[status], number)

        self.kernel(kind, [op], emit, plain.blocks(loops, op.operands), plain.THREADS, also)
        op.erase()

    def copy(self, source: ir.Value, target: ir.Value) -> None:
        """A kernel that copies a buffer to another."""
        rank = source.type.rank
        identity = ir.AffineMapAttr.get(ir.AffineMap.get_identity(rank))
        parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
        op = linalg.GenericOp(
            [],
            [source],
            [target],
            ir.ArrayAttr.get([identity] * 2),
            ir.ArrayAttr.get([parallel] * rank),
        )
        elements = [source.type.element_type, target.type.element_type]
        body = op.regions[0].blocks.append(*elements)
        with ir.InsertionPoint(body):
            linalg.YieldOp([body.arguments[0]])
        self.generic(op.operation)

    def load(self, op: ir.Operation) -> None:
        """Keeps a loaded element in a buffer of its own, from which kernels take it."""
        if _is_checked_at_once(op):
            self.on_device.add(op.results[0])
            return
        element = op.results[0].type
        slot = memref.alloc(ir.MemRefType.get([], element), [], [])

        def emit(mapping: plain.Mapping) -> None:
            memref.store(clone(op, mapping).results[0], mapping[slot], [])

        self.kernel("load", [op], emit, plain.index(1), 1, also=[slot])
        value = memref.load(slot, [])
        self.on_device.add(value)
        op.results[0].replace_all_uses_with(value)
        op.erase()

    def single(self, name: str, ops: list[ir.Operation]) -> None:
        """A kernel of one thread that runs ``ops``."""

        def emit(mapping: plain.Mapping) -> None:
            for op in ops:
                clone(op, mapping)

        self.kernel(name, ops, emit, plain.index(1), 1)

    def check(self, op: ir.Operation) -> None:
        """A kernel that writes the number of a check that failed, unless one did before."""
        number = self.number_of(ir.StringAttr(op.attributes["msg"]).value)
        condition, status = op.operands[0], self.status_buffer(op)

        def emit(mapping: plain.Mapping) -> None:
            tell(mapping[condition], mapping[status], number)

        self.kernel("check", [], emit, plain.index(1), 1, also=[condition, status])
        op.erase()

    def number_of(self, text: str) -> int:
        """The number of a message, from 1 on."""
        if text not in self.messages:
            self.messages.append(text)
        return self.messages.index(text) + 1

    def status_buffer(self, op: ir.Operation) -> ir.Value:
        """Where numbers of checks that failed go to, as a value of the function around ``op``."""
        if self.status is None:
            type_ = ir.Type.parse(_STATUS_TYPE)
            _declare_status(self.module, type_)
            with ir.InsertionPoint.at_block_begin(op.block):
                self.status = memref.get_global(type_, STATUS_BUFFER)
        return self.status

    def results(self, end: ir.Operation, public: bool) -> None:
        """Makes every result of a public function a buffer of its own, numbers, too."""
        if not public:
            if any(value in self.on_device for value in end.operands):
                raise PassFailure(end, "cannot return what only the device knows")
            return
        seen: set[ir.Value] = set()
        for at, value in enumerate(end.operands):
            if not isinstance(value.type, ir.MemRefType):
                end.operands[at] = self.cell(value)
                continue
            root = root_of(value)
            if root is not None and root not in seen:
                seen.add(root)
                continue
            sizes = [
                memref.DimOp(value, plain.index(axis)).result
                for axis in range(value.type.rank)
                if value.type.is_dynamic_dim(axis)
            ]
            plain_type = ir.MemRefType.get(value.type.shape, value.type.element_type)
            fresh = memref.alloc(plain_type, sizes, [])
            self.copy(value, fresh)
            end.operands[at] = fresh
        function = end.block.owner.opview
        types = [value.type for value in end.operands]
        if types != function.type.results:
            made = ir.FunctionType.get(function.type.inputs, types)
            function.attributes["function_type"] = ir.TypeAttr.get(made)

    def cell(self, value: ir.Value) -> ir.Value:
        """A buffer of one element, in which a number comes back."""
        made = memref.alloc(ir.MemRefType.get([], value.type), [], [])
        store = memref.StoreOp(value, made, []).operation
        self.single("store", [store])
        store.erase()
        return made

    # -- kernels

    def kernel(
        self,
        kind: str,
        ops: list[ir.Operation],
        emit: Emit,
        blocks: ir.Value,
        threads: int,
        also: Iterable[ir.Value] = (),
    ) -> None:
        """Launches a kernel.

        Args:
            kind: the start of its name.
            ops: what the kernel holds copies of.
            emit: emits the body; takes what stands for values from outside.
            blocks: how many blocks there are.
            threads: threads of a block.
            also: further values that the body uses.
        """
        also = [*also, *self.conditions]
        for condition in self.conditions:
            emit = _conditional(emit, condition)
        values, moved = self.captured(ops, also)
        # What the device knows may lead out of bounds once a check has failed.
        guard = self.status is not None and any(op.name != "arith.constant" for op in moved)
        if guard and kind != "check":
            if self.status not in values:
                values.append(self.status)
            emit = _guarded(emit, self.status)
        function = self.build(values, moved, emit, threads)
        text = function.operation.get_asm(enable_debug_info=False, use_local_scope=True)
        if text in self.texts:
            function.operation.erase()
        else:
            self.texts[text] = f"{kind}_{len(self.texts)}"
            function.operation.attributes["sym_name"] = ir.StringAttr.get(self.texts[text])
        one = plain.index(1)
        gpu.LaunchFuncOp(
            [CONTAINER, self.texts[text]],
            (blocks, one, one),
            (plain.index(threads), one, one),
            kernel_operands=values,
        )

    def build(
        self, values: list[ir.Value], moved: list[ir.Operation], emit: Emit, threads: int
    ) -> gpu.GPUFuncOp:
        with ir.InsertionPoint(self.kernels.container()):
            function = gpu.GPUFuncOp(
                ir.FunctionType.get([value.type for value in values], []),
                "kernel_of_nobody",
                kernel=True,
                known_block_size=[threads, 1, 1],
            )
        entry = function.add_entry_block()
        with ir.InsertionPoint(entry):
            mapping = dict(zip(values, entry.arguments, strict=True))
            for op in moved:
                clone(op, mapping)
            emit(mapping)
            gpu.return_([])
        return function

    def captured(
        self, ops: list[ir.Operation], also: Iterable[ir.Value]
    ) -> tuple[list[ir.Value], list[ir.Operation]]:
        """Values that a kernel takes, and ops that it holds copies of before its body.

        The latter are constants, and what makes values that only the device knows.
        """
        inside = [inner for op in ops for inner in all_ops(op)]
        own = {result for inner in inside for result in inner.results}
        own |= {
            argument
            for inner in inside
            for region in inner.regions
            for block in region.blocks
            for argument in block.arguments
        }
        values: dict[ir.Value, None] = {}
        moved: dict[ir.Operation, None] = {}

        def need(value: ir.Value) -> None:
            if value in own:
                return
            owner = None if isinstance(value.owner, ir.Block) else value.owner.operation
            if owner is None or not (owner.name == "arith.constant" or value in self.on_device):
                values[value] = None
            elif owner not in moved:
                for operand in owner.operands:
                    need(operand)
                moved[owner] = None

        for inner in inside:
            for value in inner.operands:
                need(value)
        for value in also:
            need(value)
        return list(values), list(moved)


def _conditional(emit: Emit, condition: ir.Value) -> Emit:
    """A body that does nothing unless a condition holds."""

    def emit_conditional(mapping: plain.Mapping) -> None:
        branch = scf.IfOp(mapping[condition])
        with ir.InsertionPoint(branch.then_block):
            emit(mapping)
            scf.yield_([])

    return emit_conditional


def _guarded(emit: Emit, status: ir.Value) -> Emit:
    """A body that does nothing once a check has failed."""

    def emit_guarded(mapping: plain.Mapping) -> None:
        number = memref.load(mapping[status], [plain.index(0)])
        none = arith.constant(number.type, 0)
        branch = scf.IfOp(arith.cmpi(arith.CmpIPredicate.eq, number, none))
        with ir.InsertionPoint(branch.then_block):
            emit(mapping)
            scf.yield_([])

    return emit_guarded


def _is_checked_at_once(load: ir.Operation) -> bool:
    """Whether only checks use what ``load`` brings, before anything else could change it."""
    users = {use.owner.operation for use in load.results[0].uses}
    ops = [op.operation for op in load.block.operations]
    for op in ops[ops.index(load) + 1 :]:
        users.discard(op)
        if not users:
            return op.name == "cf.assert"
        if not op.name.startswith(("arith.", "cf.assert", "memref.dim")):
            return False
        if op.operands and load.results[0] in list(op.operands) and op.name != "cf.assert":
            return False
    return False


def _only_block(function: func.FuncOp) -> list[ir.Block]:
    blocks = list(function.operation.regions[0].blocks)
    if len(blocks) != 1:
        raise PassFailure(function, f"expected one block, but got {len(blocks)}")
    return blocks


def _declare_status(module: ir.Operation, type_: ir.Type) -> None:
    block = module.regions[0].blocks[0]
    for op in block.operations:
        attributes = op.operation.attributes
        if op.operation.name == "memref.global" and (
            ir.StringAttr(attributes["sym_name"]).value == STATUS_BUFFER
        ):
            return
    with ir.InsertionPoint.at_block_begin(block):
        memref.GlobalOp(
            STATUS_BUFFER, type_, sym_visibility="private", initial_value=ir.UnitAttr.get()
        )
