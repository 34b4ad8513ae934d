"""`rlx-sink-arguments`: what callers pass, read where it is used."""

from dataclasses import dataclass

from rlx.host import ir, llvm
from rlx.passes.base import Pass

__all__ = ["SinkArguments"]

_WRAPPER = "_mlir_ciface_"


@dataclass(frozen=True)
class SinkArguments(Pass):
    """Makes functions with a C interface read the descriptors of buffers where they use them.

    Such a function gets pointers to descriptors, through a wrapper that loads them all and hands
    their fields on one by one: thousands of values that live through the whole function, for a
    model with hundreds of parameters, which costs LLVM more time than all the rest. Instead, the
    wrapper hands on the pointers, and a field is loaded in front of each op that uses it. Runs on
    the LLVM dialect. Functions that others call are left alone.
    """

    name = "rlx-sink-arguments"
    anchor = "builtin.module"

    def run(self, op: ir.Operation) -> None:
        functions = {
            ir.StringAttr(found.attributes["sym_name"]).value: found.operation
            for found in op.regions[0].blocks[0].operations
            if found.operation.name == "llvm.func"
        }
        for name, wrapper in functions.items():
            function = functions.get(name.removeprefix(_WRAPPER))
            if not name.startswith(_WRAPPER) or function is None or _is_declaration(wrapper):
                continue
            # Names and the like mean nothing from here on; to translate them takes long.
            _strip(wrapper)
            _strip(function)
            calls = _calls(op, name.removeprefix(_WRAPPER))
            if len(calls) == 1 and calls[0].parent.operation == wrapper:
                _sink(calls[0], function)


def _strip(function: ir.Operation) -> None:
    """Drops the attributes of arguments and results that are not LLVM's."""
    for what in ("arg_attrs", "res_attrs"):
        if what in function.attributes:
            kept = [
                ir.DictAttr.get({a.name: a.attr for a in entry if a.name.startswith("llvm.")})
                for entry in ir.ArrayAttr(function.attributes[what])
            ]
            function.attributes[what] = ir.ArrayAttr.get(kept)


def _is_declaration(function: ir.Operation) -> bool:
    return len(function.regions[0].blocks) == 0


def _calls(module: ir.Operation, name: str) -> list[ir.Operation]:
    """Every op that mentions the function ``name``."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        attributes = op.attributes
        for key in ("callee", "global_name"):
            if key in attributes and ir.FlatSymbolRefAttr(attributes[key]).value == name:
                found.append(op)
        return ir.WalkResult.ADVANCE

    module.walk(visit)
    return found


def _sink(call: ir.Operation, function: ir.Operation) -> None:
    """Passes arguments of the caller on as they are, and loads from them in ``function``."""
    entry = function.regions[0].blocks[0]
    old = list(entry.arguments)
    passed: dict[ir.Value, ir.Value] = {}  # arguments of the wrapper, and what they become
    for operand, argument in zip(call.operands, old, strict=True):
        source, path, descriptor = _origin(operand)
        if source not in passed:
            passed[source] = entry.add_argument(source.type, argument.location)
        if descriptor is None:
            argument.replace_all_uses_with(passed[source])
        else:
            _load_at_uses(argument, passed[source], path, descriptor)
    for _ in old:
        entry.erase_argument(0)
    type_ = ir.TypeAttr(function.attributes["function_type"]).value
    inputs = [value.type for value in passed]
    function.attributes["function_type"] = ir.TypeAttr.get(
        llvm.FunctionType.get(type_.return_type, inputs)
    )
    if "arg_attrs" in function.attributes:
        del function.attributes["arg_attrs"]  # they were on other arguments
    operands = list(call.operands)
    with ir.InsertionPoint(call), call.location:
        new = ir.Operation.create(
            "llvm.call",
            results=[value.type for value in call.results],
            operands=list(passed),
            attributes={
                key: ir.DenseI32ArrayAttr.get([len(passed), 0])
                if key == "operandSegmentSizes"
                else call.attributes[key]
                for key in call.attributes
            },
        )
    for before, after in zip(call.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    call.erase()
    _erase_unused(operands)


def _erase_unused(values: list[ir.Value]) -> None:
    """Erases the ops that make ``values`` and the loads behind them, where nobody uses them."""
    loads: dict[ir.Value, None] = {}
    for value in dict.fromkeys(values):
        if not isinstance(value.owner, ir.Block) and not any(True for _ in value.uses):
            op = value.owner.operation
            loads |= dict.fromkeys(op.operands)
            op.erase()
    for value in loads:
        if not isinstance(value.owner, ir.Block) and not any(True for _ in value.uses):
            value.owner.operation.erase()


def _origin(value: ir.Value) -> tuple[ir.Value, list[int], ir.Type | None]:
    """The pointer to the descriptor that ``value`` is a field of, which field, and its type.

    For other values themselves, and None.
    """
    if isinstance(value.owner, ir.Block) or value.owner.name != "llvm.extractvalue":
        return value, [], None
    extract = value.owner.operation
    load = extract.operands[0].owner
    if isinstance(load, ir.Block) or load.name != "llvm.load":
        return value, [], None
    path = [0, *ir.DenseI64ArrayAttr(extract.attributes["position"])]
    return load.operation.operands[0], path, load.operation.results[0].type


def _load_at_uses(
    argument: ir.Value, pointer: ir.Value, path: list[int], descriptor: ir.Type
) -> None:
    """Replaces every use of ``argument`` by a load from the descriptor at ``pointer``."""
    for use in list(argument.uses):
        user = use.owner.operation
        with ir.InsertionPoint(user), user.location:
            place = ir.Operation.create(
                "llvm.getelementptr",
                results=[pointer.type],
                operands=[pointer],
                attributes={
                    "elem_type": ir.TypeAttr.get(descriptor),
                    "rawConstantIndices": ir.DenseI32ArrayAttr.get(path),
                },
            )
            # Nobody writes to descriptors during a call.
            field = ir.Operation.create(
                "llvm.load",
                results=[argument.type],
                operands=place.results,
                attributes={"invariant": ir.UnitAttr.get()},
            )
        user.operands[use.operand_number] = field.results[0]
