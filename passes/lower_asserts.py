"""`rlx-lower-asserts`: run-time checks as structured control flow, without an abort."""

from dataclasses import dataclass, field

from rlx.host import arith, ir, memref, tensor
from rlx.passes.base import Pass, PassFailure, walk
from rlx.passes.export import WRITABLE
from rlx.passes.functions import attributes_of, is_public, set_attributes

__all__ = ["DIVISIONS", "MESSAGES", "STATUS", "STRUCTURED", "LowerAsserts", "messages_of"]

MESSAGES = "rlx.messages"
"""Module attribute: the texts of the checks; status ``i + 1`` says that check ``i`` failed."""

STATUS = "rlx.status"
"""Argument attribute: marks the argument that the pass has added."""

_STATUS_TYPE = "memref<1xi64>"
_ASSERT = "cf.assert"
_CALL = "func.call"

STRUCTURED = {
    "linalg.generic",
    "linalg.map",
    "linalg.reduce",
    "scf.execute_region",
    "scf.for",
    "scf.if",
    "scf.index_switch",
    "scf.while",
    "tensor.generate",
}
"""Ops whose regions end in a plain list of values, so that the end can be made conditional."""

# Checks may move across these, and what a condition needs may too if it cannot go wrong itself.
_PURE_DIALECTS = {"affine", "arith", "linalg", "math", "rlx", "tensor"}
_HARMLESS = {"linalg.fill", "linalg.yield", "tensor.dim", "tensor.empty"}
DIVISIONS = {
    f"arith.{name}{sign}i" for name in ("div", "rem", "ceildiv", "floordiv") for sign in "su"
}
"""Ops on integers that end the process where the divisor is zero."""


@dataclass(frozen=True)
class LowerAsserts(Pass):
    """Turns `cf.assert` into an early way out that frees what was allocated.

    A function that may fail gets a last argument, the status. Where a check fails, its number is
    stored there and everything that would have followed is skipped: the function returns values
    of the right types without meaning. Callers look at the status after the call and do the same.
    The texts of the checks become the module attribute `rlx.messages`.

    Checks that lie next to each other become one, and so do checks that can move up to an earlier
    one because nothing that their conditions need can go wrong. Runs on tensors, before
    bufferization; functions and the bodies of loops must have one block (see `lift-cf-to-scf`).
    """

    name = "rlx-lower-asserts"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        functions = {_name(f.operation, "sym_name"): f.operation for f in walk(op, "func.func")}
        fallible = _fallible(functions)
        if not fallible:
            return
        for use in walk(op, "func.constant"):
            if (name := _name(use.operation, "value")) in fallible:
                raise PassFailure(
                    use.operation, f"cannot take the address of '{name}', which has run-time checks"
                )
        lowering = _Lowering(fallible, functions)
        for name in sorted(fallible):
            lowering.function(functions[name])
        with op.context:
            texts = ir.ArrayAttr.get([ir.StringAttr.get(text) for text in lowering.messages])
            op.attributes[MESSAGES] = texts


def messages_of(module: ir.Module) -> tuple[str, ...]:
    """The texts of the checks of a module that the pass has run on."""
    if MESSAGES not in module.operation.attributes:
        return ()
    return tuple(ir.StringAttr(text).value for text in module.operation.attributes[MESSAGES])


def _name(op: ir.Operation, attribute: str) -> str:
    value = op.attributes[attribute]
    return value.value if isinstance(value, ir.StringAttr | ir.FlatSymbolRefAttr) else str(value)


def _fallible(functions: dict[str, ir.Operation]) -> set[str]:
    """Functions with a check, or that call one that has."""
    callees = {
        name: {_name(call.operation, "callee") for call in walk(f, _CALL)}
        for name, f in functions.items()
    }
    found = {name for name, f in functions.items() if any(True for _ in walk(f, _ASSERT))}
    while more := {name for name, called in callees.items() if called & found} - found:
        found |= more
    return found


def _gather(block: ir.Block) -> None:
    """Moves each check of ``block`` up to the one before it where that is safe."""
    ops = [op.operation for op in block.operations]
    place = {op: at for at, op in enumerate(ops)}
    group: list[ir.Operation] = []
    for op in ops:
        if op.name != _ASSERT:
            if op.name.partition(".")[0] not in _PURE_DIALECTS:
                group = []
            continue
        needed = _needs(op, place, after=place[group[0]]) if group else None
        if needed is None:
            group = []
        else:
            for other in needed:
                other.move_before(group[0])
                place[other] = place[group[0]]
            op.move_after(group[-1])
        group.append(op)


def _needs(
    check: ir.Operation, place: dict[ir.Operation, int], after: int
) -> list[ir.Operation] | None:
    """Ops past ``after`` that ``check`` needs, in order; None when one of them could go wrong."""
    found: dict[ir.Operation, int] = {}
    pending = list(check.operands)
    while pending:
        op = _owner(pending.pop())
        if op is None or place.get(op, -1) <= after or op in found:
            continue
        if not _cannot_fail(op):
            return None
        found[op] = place[op]
        pending += op.operands
        for region in op.regions:
            for inner in region.blocks[0].operations:
                pending += inner.operands
    return sorted(found, key=found.__getitem__)


def _cannot_fail(op: ir.Operation) -> bool:
    """Whether ``op`` may run before a check that it used to follow."""
    if op.name in _HARMLESS or (op.name == "tensor.extract" and len(op.operands) == 1):
        return True
    if op.name == "linalg.generic":
        # With a second operand of unequal size it would read or write out of bounds.
        body = op.regions[0].blocks[0].operations
        ranks = [value.type.rank for value in op.operands if hasattr(value.type, "rank")]
        return sum(rank > 0 for rank in ranks) <= 1 and all(
            _cannot_fail(inner.operation) for inner in body
        )
    return op.name.startswith("arith.") and op.name not in DIVISIONS


@dataclass
class _Lowering:
    fallible: set[str]
    functions: dict[str, ir.Operation]
    messages: list[str] = field(default_factory=list)
    status: ir.Value = None  # type: ignore[assignment]
    donated: list[ir.Value] = field(default_factory=list)  # arguments that may be written to

    def function(self, function: ir.Operation) -> None:
        blocks = list(function.regions[0].blocks)
        if len(blocks) != 1:
            raise PassFailure(
                function,
                "expected one block in a function with run-time checks, "
                f"but got {len(blocks)}; lift-cf-to-scf makes one of them",
            )
        with function.context, function.location:
            status = ir.Type.parse(_STATUS_TYPE)
            self.status = blocks[0].add_argument(status, function.location)
            view = function.opview
            # Whether a private function may write to an argument is for its callers to say.
            self.donated = [
                argument
                for argument, fields in zip(
                    blocks[0].arguments, attributes_of(view, "arg_attrs"), strict=False
                )
                if not is_public(view)
                or (WRITABLE in fields and ir.BoolAttr(fields[WRITABLE]).value)
            ]
            attributes = [*attributes_of(view, "arg_attrs"), {STATUS: ir.UnitAttr.get()}]
            new = ir.FunctionType.get([*view.type.inputs, status], view.type.results)
            function.attributes["function_type"] = ir.TypeAttr.get(new)
            set_attributes(view, "arg_attrs", attributes)
            self.block(blocks[0])
            if not is_public(view):
                # Called after a failure it does nothing, so a row of calls needs one look at the
                # status.
                with ir.InsertionPoint.at_block_begin(blocks[0]):
                    body = [op.operation for op in blocks[0].operations][:-1]
                    self.go_on_if_ok(blocks[0], body)

    def block(self, block: ir.Block) -> bool:
        """Makes the checks in ``block`` ways out of it; returns whether there were any."""
        _gather(block)
        groups: list[list[ir.Operation]] = []
        after_check = after_call = False
        for op in [op.operation for op in block.operations]:
            if op.name == _ASSERT:
                if after_check:
                    groups[-1].append(op)
                else:
                    groups.append([op])
                after_check, after_call = True, False
            else:
                after_check = False
                is_call = self.calls_private(op)
                if lowered := self.nested(op):
                    if is_call and after_call:
                        groups[-1] = [lowered]
                    else:
                        groups.append([lowered])
                after_call = is_call
        # From the last to the first, so that every op moves once.
        for group in reversed(groups):
            with group[0].location:
                if group[0].name == _ASSERT:
                    self.check(block, group)
                else:
                    self.go_on_if_ok(block, _following(block, group[0]))
        return bool(groups)

    def nested(self, op: ir.Operation) -> ir.Operation | None:
        """Lowers the checks inside ``op``; returns the op that may then have failed, if so."""
        if op.name == _CALL and _name(op, "callee") in self.fallible:
            return self.call(op)
        blocks = [block for region in op.regions for block in region.blocks]
        if not any(
            inner.operation.name == _ASSERT or _name(inner.operation, "callee") in self.fallible
            for block in blocks
            for top in block.operations
            for inner in walk(top.operation, _ASSERT, _CALL)
        ):
            return None
        if op.name not in STRUCTURED or any(len(region.blocks) > 1 for region in op.regions):
            raise PassFailure(op, f"a run-time check inside '{op.name}' is not supported")
        for block in blocks:
            for index in [o.operation for o in block.operations if o.name == "linalg.index"]:
                # It must stay immediately inside its linalg op.
                index.move_before(block.operations[0])
        failed = [self.block(block) for block in blocks]
        # A loop goes on after an iteration that failed: the later ones must do nothing.
        if op.name == "scf.for" or (op.name == "scf.while" and failed[1]):
            with op.location, ir.InsertionPoint.at_block_begin(blocks[0]):
                self.go_on_if_ok(blocks[0], [o.operation for o in blocks[0].operations][:-1])
        return op

    def calls_private(self, op: ir.Operation) -> bool:
        """Whether ``op`` calls a function that may fail, and looks at the status itself."""
        callee = _name(op, "callee") if op.name == _CALL else ""
        return callee in self.fallible and not is_public(self.functions[callee].opview)

    def call(self, op: ir.Operation) -> ir.Operation:
        with ir.InsertionPoint(op), op.location:
            new = ir.Operation.create(
                _CALL,
                results=[result.type for result in op.results],
                operands=[*op.operands, self.status],
                attributes=dict(op.attributes.items()),
            )
        for before, after in zip(op.results, new.results, strict=True):
            before.replace_all_uses_with(after)
        op.erase()
        return new.operation

    # -- ways out --------------------------------------------------------------------------------

    def check(self, block: ir.Block, checks: list[ir.Operation]) -> None:
        """Skips what follows a group of checks unless all of them hold."""
        i64 = ir.IntegerType.get_signless(64)
        rest = _following(block, checks[-1])
        conditions = [check.operands[0] for check in checks]
        numbers = [self.number(check) for check in checks]
        with ir.InsertionPoint(checks[-1]):
            holds = conditions[0]
            for condition in conditions[1:]:
                holds = arith.andi(holds, condition)
            failure = self.split(block, rest, holds)
        with ir.InsertionPoint.at_block_begin(failure):
            number = arith.constant(i64, numbers[-1])
            for condition, own in zip(conditions[-2::-1], numbers[-2::-1], strict=True):
                number = arith.select(condition, number, arith.constant(i64, own))
            zero = arith.constant(ir.IndexType.get(), 0)
            earlier = memref.load(self.status, [zero])
            none_yet = arith.cmpi(arith.CmpIPredicate.eq, earlier, arith.constant(i64, 0))
            memref.store(arith.select(none_yet, number, earlier), self.status, [zero])
        for check in checks:
            check.erase()

    def go_on_if_ok(self, block: ir.Block, rest: list[ir.Operation]) -> None:
        """Skips ``rest``, the end of ``block``, when a check has failed."""
        if not rest:
            return
        with ir.InsertionPoint(rest[0]):
            status = memref.load(self.status, [arith.constant(ir.IndexType.get(), 0)])
            none = arith.constant(ir.IntegerType.get_signless(64), 0)
            self.split(block, rest, arith.cmpi(arith.CmpIPredicate.eq, status, none))

    def number(self, check: ir.Operation) -> int:
        """The status that stands for the text of ``check``."""
        text = _name(check, "msg")
        if text not in self.messages:
            self.messages.append(text)
        return self.messages.index(text) + 1

    def split(self, block: ir.Block, rest: list[ir.Operation], holds: ir.Value) -> ir.Block:
        """Puts ``rest``, the end of ``block``, under a condition; returns the other branch."""
        end = list(block.operations)[-1].operation
        inside = set(rest)
        needed = [
            at
            for at, value in enumerate(end.operands)
            # Even a condition that was known before must not keep a loop going.
            if _owner(value) in inside or (end.name == "scf.condition" and at == 0)
        ]
        branch = ir.Operation.create(
            "scf.if",
            results=[end.operands[at].type for at in needed],
            operands=[holds],
            regions=2,
        )
        success, failure = (region.blocks.append() for region in branch.regions)
        for op in rest:
            success.append(op)
        with ir.InsertionPoint(success):
            ir.Operation.create("scf.yield", operands=[end.operands[at] for at in needed])
        with ir.InsertionPoint(failure):
            spare = [self.spare(block, end, at) for at in needed]
            ir.Operation.create("scf.yield", operands=spare)
        for at, value in zip(needed, branch.results, strict=True):
            end.operands[at] = value
        return failure

    def spare(self, block: ir.Block, end: ir.Operation, at: int) -> ir.Value:
        """What ``block`` yields in place ``at`` when a check has failed."""
        if end.parent.name == "scf.for":
            return block.arguments[at + 1]
        type_ = end.operands[at].type
        donated = _destination(end.operands[at], self.functions)
        if donated in self.donated and donated.type == type_:
            return donated
        if isinstance(type_, ir.RankedTensorType):
            zero = arith.constant(ir.IndexType.get(), 0)
            sizes = [
                zero if type_.is_dynamic_dim(axis) else size
                for axis, size in enumerate(type_.shape)
            ]
            return tensor.empty(sizes, type_.element_type)
        if (zero := _zero(type_)) is None:
            raise PassFailure(
                end, f"a run-time check cannot skip what makes a value of type {type_}"
            )
        return arith.constant(type_, zero)


def _zero(type_: ir.Type) -> ir.Attribute | None:
    if isinstance(type_, ir.IntegerType | ir.IndexType):
        return ir.IntegerAttr.get(type_, 0)
    if isinstance(type_, ir.FloatType):
        return ir.FloatAttr.get(type_, 0.0)
    if isinstance(type_, ir.VectorType) and (zero := _zero(type_.element_type)) is not None:
        return ir.DenseElementsAttr.get_splat(type_, zero)
    return None


def _owner(value: ir.Value) -> ir.Operation | None:
    owner = value.owner
    return owner.operation if isinstance(owner, ir.Operation | ir.OpView) else None


def _destination(value: ir.Value, functions: dict[str, ir.Operation]) -> ir.Value:
    """The tensor that ``value`` is an update of, as far as that can be told."""
    while (op := _owner(value)) is not None:
        number = ir.OpResult(value).result_number
        if op.name == "scf.if":
            value = list(op.regions[0].blocks[0].operations)[-1].operation.operands[number]
        elif op.name == "scf.for":
            value = op.operands[3 + number]
        elif op.name in ("tensor.insert", "tensor.insert_slice"):
            value = op.operands[1]
        elif op.name == _CALL:
            argument = _returned_argument(_name(op, "callee"), number, functions)
            if argument is None:
                break
            value = op.operands[argument]
        elif op.name == "linalg.generic":
            value = op.operands[len(op.operands) - len(op.results) + number]
        else:
            break
    return value


def _returned_argument(name: str, result: int, functions: dict[str, ir.Operation]) -> int | None:
    """The number of the argument that a result of the function ``name`` is an update of."""
    if name not in functions or len(list(functions[name].regions[0].blocks)) != 1:
        return None
    block = functions[name].regions[0].blocks[0]
    end = list(block.operations)[-1].operation
    # Without this function itself, lest a recursive one goes on forever.
    others = {other: function for other, function in functions.items() if other != name}
    value = _destination(end.operands[result], others)
    return value.arg_number if value in list(block.arguments) else None


def _following(block: ir.Block, op: ir.Operation) -> list[ir.Operation]:
    """What stands between ``op`` and the end of its block."""
    ops = [other.operation for other in block.operations]
    return ops[ops.index(op) + 1 : -1]
