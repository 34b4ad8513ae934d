"""Matrices that products read, followed through the functions of a module."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from rlx.host import func, ir
from rlx.passes.base import walk
from rlx.passes.functions import (
    NAME,
    PARAM,
    PARTS,
    PARTS_AXIS,
    attributes_of_argument,
    functions,
    is_public,
    symbols,
)

__all__ = ["Calls", "Weight", "callee"]

_USUAL = {NAME, PARAM, PARTS, PARTS_AXIS}


@dataclass
class Weight:
    """A matrix: the arguments that stand for it in one function or another.

    Attributes:
        arguments: each with its function.
        products: the ops that multiply with it.
        calls: what passes it on.
        others: what else uses it.
        is_parameter: whether it is a parameter of a public function.
        problem: why it cannot be changed; empty when it can.
    """

    arguments: dict[ir.Value, func.FuncOp] = field(default_factory=dict)
    products: list[Any] = field(default_factory=list)
    calls: list[ir.Operation] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    is_parameter: bool = False
    problem: str = ""

    @property
    def elsewhere(self) -> str:
        """The problem of being used by others; empty when it is not."""
        return f"'{self.others[0].operation.name}' uses it, too" if self.others else ""


class Calls:
    """The functions of a module and who calls them.

    Args:
        module: what to look at; calls must not change while this object is in use.
        is_product: whether an op multiplies with the matrix that its second operand is.
        known: attributes of a parameter, apart from name and parts, that stand in nobody's way.
        named: whether a parameter has to have a name.
    """

    def __init__(
        self,
        module: ir.Operation,
        is_product: Callable[[ir.OpView], bool],
        known: Collection[str] = (),
        *,
        named: bool = True,
    ):
        self._is_product = is_product
        self._known = _USUAL | set(known)
        self._named = named
        self.functions = {f.name.value: f for f in functions(module) if not f.is_external}
        self._entries = {f.regions[0].blocks[0]: f for f in self.functions.values()}
        self._callers: dict[str, list[ir.Operation]] = {name: [] for name in self.functions}
        self._taken: set[str] = set()  # functions that are mentioned other than by calls
        for op in walk(module):
            if op.name == "func.call":
                self._callers.setdefault(callee(op.operation), []).append(op.operation)
                continue
            for key in op.attributes:
                self._taken.update(symbols(op.attributes[key]))

    def is_argument(self, value: ir.Value) -> bool:
        """Whether ``value`` is an argument of a function."""
        return isinstance(value, ir.BlockArgument) and value.owner in self._entries

    def follow(self, argument: ir.Value) -> Weight:
        """All that is known of the matrix that ``argument`` is."""
        weight = Weight()
        pending = [argument]
        while pending:
            value = pending.pop()
            if value in weight.arguments:
                continue
            function = self._entries[value.owner]
            weight.arguments[value] = function
            pending += self._passed_on(weight, value)
            pending += self._passed_in(weight, value, function)
        weight.problem = weight.problem or weight.elsewhere
        return weight

    def _passed_on(self, weight: Weight, value: ir.Value) -> Iterator[ir.Value]:
        """What called functions know it as; notes its uses."""
        for use in value.uses:
            user = use.owner.operation
            if user.name == "func.call" and callee(user) in self.functions:
                if user not in weight.calls:
                    weight.calls.append(user)
                entry = self.functions[callee(user)].regions[0].blocks[0]
                yield entry.arguments[use.operand_number]
            elif use.operand_number == 1 and self._is_product(user.opview):
                weight.products.append(user.opview)
            else:
                weight.others.append(user.opview)

    def _passed_in(
        self, weight: Weight, value: ir.Value, function: func.FuncOp
    ) -> Iterator[ir.Value]:
        """What the callers of ``function`` pass."""
        name, number = function.name.value, value.arg_number
        if is_public(function):
            attributes = attributes_of_argument(function, number)
            if PARAM not in attributes:
                weight.problem = "it is not a parameter"
                return
            weight.is_parameter = True
            strange = sorted(attributes.keys() - self._known)
            named = NAME in attributes and isinstance(attributes[NAME], ir.StringAttr)
            if self._named and not named:
                weight.problem = weight.problem or "it has no rlx.name"
            elif strange:
                weight.problem = weight.problem or f"it has {strange[0]}"
            if self._callers[name] or name in self._taken:
                weight.problem = weight.problem or f"the module refers to @{name}"
        elif name in self._taken:
            weight.problem = weight.problem or f"@{name} is used other than in a call"
        for call in self._callers[name]:
            if self.is_argument(call.operands[number]):
                yield call.operands[number]
            else:
                weight.problem = weight.problem or "it is computed"


def callee(call: ir.Operation) -> str:
    """The name of the function that a `func.call` calls."""
    return ir.FlatSymbolRefAttr(call.attributes["callee"]).value
