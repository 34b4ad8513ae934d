"""`rlx-fuse-qkv`: projections of one input as a single matrix product."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rlx.diagnostics import remark
from rlx.dialects import emit
from rlx.dialects.matmul import MatmulOp, matmul
from rlx.dialects.narrow import narrow
from rlx.dialects.types import is_static, with_dim
from rlx.host import func, ir
from rlx.options import option
from rlx.passes.base import Pass, parent_of, walk
from rlx.passes.functions import (
    NAME,
    PARAM,
    PARTS,
    PARTS_AXIS,
    Attributes,
    attributes_of,
    is_public,
    set_attributes,
    symbols,
)

__all__ = ["FuseQkv"]


@dataclass(frozen=True)
class FuseQkv(Pass):
    """Multiplies once where several parameters are multiplied with the same input.

    The query, key and value projections of a layer read the same rows, and so do gate and up of an
    MLP. Their weights become one parameter, which the run time puts together once when it loads
    the model, and the products become slices of one::

        func @f(%x: tensor<1x8x16xf32>, %a: tensor<16x16xf32> {rlx.param, rlx.name = "q"},
                %b: tensor<4x16xf32> {rlx.param, rlx.name = "k"})
          %q = rlx.matmul %x, %a {transpose_weight = true}
          %k = rlx.matmul %x, %b {transpose_weight = true}

    becomes ::

        func @f(%x: tensor<1x8x16xf32>, %w: tensor<20x16xf32> {rlx.param, rlx.name = "q+k",
                rlx.parts = ["q", "k"], rlx.parts_axis = 0 : i64})
          %y = rlx.matmul %x, %w {transpose_weight = true}
          %q = rlx.narrow %y {axis = 2, start = 0, length = 16}
          %k = rlx.narrow %y {axis = 2, start = 16, length = 4}

    `rlx.parts` names the original parameters in the order in which they are concatenated along
    `rlx.parts_axis`: 0 for weights [N, X], 1 for weights [X, N]. The packed parameter takes the
    place of the first of them in the argument list. Parts come in the order in which the products
    stand in the program. A product that is computed twice is computed once first.

    A weight takes part if it is an argument with `rlx.param` and `rlx.name`, has a static shape,
    and all its uses are products with that one input. Arguments of a private function count if all
    its callers pass such arguments of theirs, to it alone: layers of a model that share a function
    pack their own parameters each. Only the argument lists of public functions that nothing in the
    module refers to can change, and of private ones that only those call; for others a remark says
    so.
    """

    name = "rlx-fuse-qkv"

    min_matmuls: int = option(2, "fuse groups of at least this many products")

    def run(self, op: ir.Operation) -> None:
        calls = _Calls(op)
        for function in list(walk(op, "func.func")):
            if not function.is_external:
                _deduplicate(calls, function)
                groups = [g for g in _groups(calls, function) if len(g) >= max(self.min_matmuls, 2)]
                if groups and calls.may_change(function):
                    with function.location:
                        _pack(calls, function, groups)


class _Calls:
    """Who calls which function, and which functions are mentioned otherwise."""

    def __init__(self, op: ir.Operation):
        module = op
        while (parent := parent_of(module)) is not None:
            module = parent
        self._of: dict[str, list[ir.Operation]] = {}
        self._mentioned: set[str] = set()
        for found in walk(module):
            for key in found.attributes:
                names = set(symbols(found.attributes[key]))
                if found.operation.name == "func.call" and key == "callee":
                    for name in names:
                        self._of.setdefault(name, []).append(found.operation)
                else:
                    self._mentioned |= names

    def of(self, function: func.FuncOp) -> list[ir.Operation]:
        return self._of.get(function.name.value, [])

    def origins(self, function: func.FuncOp, number: int) -> list[tuple[func.FuncOp, int]]:
        """The arguments of public functions that an argument stands for; none if it may be else."""
        if is_public(function):
            return [(function, number)]
        found = []
        for call in self.of(function):
            value, caller = call.operands[number], _function_around(call)
            if caller is None or not is_public(caller) or not _is_argument(caller, value):
                return []
            found.append((caller, value.arg_number))
        return found

    def is_parameter(self, function: func.FuncOp, value: ir.Value) -> bool:
        if not _is_argument(function, value):
            return False
        origins = self.origins(function, value.arg_number)
        return bool(origins) and all(PARAM in _attributes(f, n) for f, n in origins)

    def may_change(self, function: func.FuncOp) -> bool:
        """Whether the argument list of ``function`` is nobody else's business."""
        name = function.name.value
        problem = ""
        if name in self._mentioned or (is_public(function) and self.of(function)):
            problem = f"the module refers to @{name}"
        for call in [] if is_public(function) else self.of(function):
            caller = _function_around(call)
            above = caller.name.value if caller is not None else ""
            if above in self._of or above in self._mentioned:
                problem = problem or f"the module refers to @{above}, which calls @{name}"
        if problem:
            remark(function, f"projections stay on their own: {problem}")
        return not problem

    def replace(self, old: ir.Operation, new: ir.Operation) -> None:
        for calls in self._of.values():
            if old in calls:
                calls[calls.index(old)] = new


def _function_around(op: ir.Operation) -> func.FuncOp | None:
    """The function that ``op`` is in the body of, and in no op inside of it."""
    parent = op.parent
    return parent.opview if parent is not None and parent.name == "func.func" else None


def _projections(calls: _Calls, function: func.FuncOp) -> list[MatmulOp]:
    """The products with parameters, at the top level of the function."""
    return [
        op
        for op in function.regions[0].blocks[0].operations
        if isinstance(op, MatmulOp) and calls.is_parameter(function, op.weight)
    ]


def _is_argument(function: func.FuncOp, value: ir.Value) -> bool:
    return isinstance(value, ir.BlockArgument) and value.owner == function.regions[0].blocks[0]


def _attributes(function: func.FuncOp, number: int) -> dict[str, ir.Attribute]:
    if "arg_attrs" not in function.attributes:
        return {}
    attributes = ir.DictAttr(function.attributes["arg_attrs"][number])
    return {attributes[i].name: attributes[i].attr for i in range(len(attributes))}


def _deduplicate(calls: _Calls, function: func.FuncOp) -> None:
    """Computes equal products of the same input and parameter once."""
    seen: dict[tuple, MatmulOp] = {}
    for op in _projections(calls, function):
        key = (op.input, op.weight, op.transpose_weight, str(op.results[0].type))
        if key in seen:
            op.results[0].replace_all_uses_with(seen[key].results[0])
            op.operation.erase()
        else:
            seen[key] = op


def _groups(calls: _Calls, function: func.FuncOp) -> list[list[MatmulOp]]:
    """Products that can be one, in program order."""
    groups: dict[tuple, list[MatmulOp]] = {}
    projections = _projections(calls, function)
    inputs = [op.input for op in projections]
    for op in projections:
        problem = _problem(calls, function, op)
        if problem:
            if inputs.count(op.input) > 1:
                remark(op, f"projection stays on its own: {problem}")
            continue
        inner = op.weight.type.shape[1 if op.transpose_weight else 0]
        groups.setdefault((op.input, op.transpose_weight, inner), []).append(op)
    return list(groups.values())


def _problem(calls: _Calls, function: func.FuncOp, op: MatmulOp) -> str:
    """Why the weight of ``op`` cannot become a part of another; empty when it can."""
    weight = op.weight
    if not all(map(is_static, weight.type.shape)):
        return f"its weight has a dynamic shape, {weight.type}"
    if op.input == weight:
        return "its weight is its input"
    for use in weight.uses:
        user = use.owner.opview
        if not isinstance(user, MatmulOp) or user.weight != weight:
            return "its weight is also used otherwise"
        if user.input != op.input:
            return "its weight is also used with another input"
        if user.operation != op.operation:
            return "its weight is also used in another product"
    for origin, number in calls.origins(function, weight.arg_number):
        uses = list(origin.regions[0].blocks[0].arguments[number].uses)
        if not is_public(function) and len(uses) > 1:
            return "its weight is also used by a caller"
        if problem := _declaration_problem(_attributes(origin, number), op):
            return problem
    return ""


def _declaration_problem(attributes: dict[str, ir.Attribute], op: MatmulOp) -> str:
    """What is wrong with the attributes of a parameter."""
    if NAME not in attributes:
        return "its weight has no rlx.name"
    strange = sorted(attributes.keys() - {NAME, PARAM, PARTS, PARTS_AXIS})
    if strange:
        return f"its weight has {strange[0]}"
    axis = 0 if op.transpose_weight else 1
    if PARTS_AXIS in attributes and ir.IntegerAttr(attributes[PARTS_AXIS]).value != axis:
        return "its weight is packed along the other axis"
    return ""


@dataclass(frozen=True)
class _Packed:
    """Arguments that become one.

    Attributes:
        numbers: which, in the order of the parts.
        type: of the one.
        axis: along which the parts follow each other.
    """

    numbers: tuple[int, ...]
    type: ir.Type
    axis: int


def _pack(calls: _Calls, function: func.FuncOp, groups: Sequence[Sequence[MatmulOp]]) -> None:
    """Gives every group one weight, and one product that is cut into those of the group."""
    packed = [_packed(group) for group in groups]

    def rewrite(weights: Sequence[ir.Value]) -> None:
        for group, weight in zip(groups, weights, strict=True):
            _replace(group, weight)

    _change_arguments(function, packed, rewrite)
    by_caller: dict[str, tuple[func.FuncOp, list[ir.Operation]]] = {}
    for call in [] if is_public(function) else calls.of(function):
        caller = call.parent.opview
        by_caller.setdefault(caller.name.value, (caller, []))[1].append(call)
    for caller, its_calls in by_caller.values():
        _pack_calls(calls, caller, its_calls, packed)


def _pack_calls(
    calls: _Calls, caller: func.FuncOp, own: Sequence[ir.Operation], packed: Sequence[_Packed]
) -> None:
    """Packs parameters of ``caller`` as those of the function that it calls have been."""
    passed = [
        replace(p, numbers=tuple(call.operands[n].arg_number for n in p.numbers))
        for call in own
        for p in packed
    ]

    def rewrite(weights: Sequence[ir.Value]) -> None:
        for at, call in enumerate(own):
            start = at * len(packed)
            calls.replace(call, _with_packed(call, packed, weights[start : start + len(packed)]))
            call.erase()

    with caller.location:
        _change_arguments(caller, passed, rewrite)


def _with_packed(
    call: ir.Operation, packed: Sequence[_Packed], weights: Sequence[ir.Value]
) -> ir.Operation:
    """A call of the changed function in place of ``call``."""
    first = {min(p.numbers): weight for p, weight in zip(packed, weights, strict=True)}
    gone = {number for p in packed for number in p.numbers}
    operands = [
        first.get(number, operand)
        for number, operand in enumerate(call.operands)
        if number in first or number not in gone
    ]
    with ir.InsertionPoint(call), call.location:
        new = ir.Operation.create(
            call.name,
            results=[result.type for result in call.results],
            operands=operands,
            attributes={key: call.attributes[key] for key in call.attributes},
        )
    for before, after in zip(call.results, new.results, strict=True):
        before.replace_all_uses_with(after)
    return new.operation


def _change_arguments(
    function: func.FuncOp,
    packed: Sequence[_Packed],
    rewrite: Callable[[Sequence[ir.Value]], None],
) -> None:
    """Packs arguments; ``rewrite`` gets the new ones and removes all uses of their parts."""
    block = function.regions[0].blocks[0]
    group_of = {number: each for each in packed for number in each.numbers}
    new: dict[_Packed, ir.Value] = {}
    before = attributes_of(function, "arg_attrs")
    attributes: list[Attributes] = []
    old = list(block.arguments)
    for number, argument in enumerate(old):
        group = group_of.get(number)
        if group is None:
            argument.replace_all_uses_with(block.add_argument(argument.type, argument.location))
            attributes.append(before[number])
        elif group not in new:
            new[group] = block.add_argument(group.type, argument.location)
            attributes.append(_packed_attributes(function, group, before))
    rewrite([new[each] for each in packed])
    for _ in old:
        block.erase_argument(0)
    type = ir.FunctionType.get([a.type for a in block.arguments], function.type.results)
    function.attributes["function_type"] = ir.TypeAttr.get(type)
    set_attributes(function, "arg_attrs", attributes)


def _widths(group: Sequence[MatmulOp]) -> list[int]:
    return [op.weight.type.shape[0 if op.transpose_weight else 1] for op in group]


def _packed(group: Sequence[MatmulOp]) -> _Packed:
    axis = 0 if group[0].transpose_weight else 1
    type = with_dim(group[0].weight.type, axis, sum(_widths(group)))
    return _Packed(tuple(op.weight.arg_number for op in group), type, axis)


def _packed_attributes(
    function: func.FuncOp, packed: _Packed, attributes: Sequence[Attributes]
) -> Attributes:
    if not is_public(function):
        return {}
    parts: list[ir.Attribute] = []
    for number in packed.numbers:
        parts += attributes[number].get(PARTS, [attributes[number][NAME]])
    return {
        NAME: ir.StringAttr.get("+".join(ir.StringAttr(part).value for part in parts)),
        PARAM: ir.UnitAttr.get(),
        PARTS: ir.ArrayAttr.get(parts),
        PARTS_AXIS: ir.IntegerAttr.get(ir.IntegerType.get_signless(64), packed.axis),
    }


def _replace(group: Sequence[MatmulOp], weight: ir.Value) -> None:
    first = group[0]
    location = ir.Location.fused([op.location for op in group])
    with ir.InsertionPoint(first), location:
        product = matmul(first.input, weight, transpose_weight=first.transpose_weight)
        start, axis = 0, product.type.rank - 1
        for op, width in zip(group, _widths(group), strict=True):
            part = narrow(product, axis=axis, start=start, length=width)
            op.results[0].replace_all_uses_with(emit.cast(part, op.results[0].type))
            start += width
    for op in group:
        op.operation.erase()
