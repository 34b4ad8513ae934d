"""`rlx-fuse-glu`: an activation times a gate's partner, written out, as `rlx.glu`."""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf
from typing import Any

import numpy as np

from rlx.diagnostics import remark
from rlx.dialects.glu import ACTIVATIONS, GluOp, glu
from rlx.host import ir
from rlx.passes.base import Pass
from rlx.passes.formulas import elementwise_roots, factors, tensor_of
from rlx.passes.match import CASTS, Node, all_elements, constant, enter, is_tensor, operation
from rlx.passes.rewrite import erase_dead
from rlx.passes.views import kind

__all__ = ["FuseGlu"]

# An expression is taken for the activation that it agrees with on these points: dense where they
# are curved, and far out, where a clamp would show. The activations differ by 4e-4 and more; front
# ends round their constants.
_FAR = np.array([10.0, 12.0, 16.0, 24.0, 40.0, 80.0])
_POINTS = np.concatenate([-_FAR[::-1], np.linspace(-9.0, 9.0, 181), _FAR])
_TOLERANCE = {"f64": 1e-4, "f32": 1e-4, "f16": 2e-3, "bf16": 4e-3}

_CURVED = (
    "math.exp",
    "math.exp2",
    "math.erf",
    "math.tanh",
    "arith.maximumf",
    "arith.maxnumf",
    "arith.select",
)
_MOST_NODES = 96


@dataclass(frozen=True)
class FuseGlu(Pass):
    """Makes a product of an activation and a tensor one `rlx.glu`.

    The gate of an MLP, activated, is multiplied with the other projection::

        %a = linalg.generic ins(%gate) { 1 / (1 + exp(-x)) }
        %b = linalg.generic ins(%gate, %a) { x * y }
        %c = linalg.generic ins(%b, %up) { x * y }

    becomes ::

        %c = rlx.glu %gate, %up {activation = "silu"}

    The product may be one linalg op or many, or `arith` and `math` on tensors, with casts between
    float types. The pass evaluates the factors that depend on one tensor alone as a function of a
    number, and compares it with `silu`, `gelu`, `gelu_tanh` and `relu`; how they are spelled does
    not matter. Gate, partner and result must have the same type, with no broadcast between them.

    A gate that is activated with another well-known function stays as it is, with a remark.
    """

    name = "rlx-fuse-glu"

    def run(self, op: ir.Operation) -> None:
        erased: set[int] = set()
        for key, root in elementwise_roots(op):
            if key not in erased:
                erased |= _fuse(root)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _reference(activation: str) -> np.ndarray:
    return GluOp.reference(_POINTS, np.ones_like(_POINTS), activation=activation)


_OTHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "x * sigmoid(1.702 x)": lambda x: x * _sigmoid(1.702 * x),
    "relu squared": lambda x: np.maximum(x, 0) ** 2,
}


def _fuse(root: ir.OpView) -> set[int]:
    """Fuses the product that ends in ``root``; returns the hashes of the ops that are erased."""
    result = root.results[0]
    tree = _Tree(all_elements(result))
    if not tree.is_curved:
        return set()
    element = result.type.element_type
    for gate in tree.tensors:
        if gate == result or gate.type != result.type:
            continue
        function, partner = tree.as_function_of(gate)
        up = tensor_of(partner, element) if partner is not None else None
        if function is None or up is None:
            continue
        activation = _closest(function, _TOLERANCE[str(element)])
        if activation is None:
            if _Tree(all_elements(gate)).holds(up):
                continue  # Within the activation of what the gate is made of.
            for name, other in _OTHERS.items():
                if np.allclose(function, other(_POINTS), atol=1e-4):
                    remark(root, f"gated unit stays in parts: rlx.glu has no activation {name}")
            continue
        if up.type != result.type:
            remark(root, f"gated unit stays in parts: {up.type} is multiplied with {gate.type}")
            continue
        with ir.InsertionPoint(root), root.location:
            fused = glu(gate, up, activation=activation)
        result.replace_all_uses_with(fused)
        return erase_dead(result)
    return set()


def _closest(function: np.ndarray, tolerance: float) -> str | None:
    """The activation that has the values ``function`` at the points."""
    scale = np.maximum(np.abs(_POINTS), 1)
    errors = {name: np.max(np.abs(function - _reference(name)) / scale) for name in ACTIVATIONS}
    best = min(errors, key=lambda name: errors[name])
    return best if errors[best] < tolerance else None


class _Tree:
    """The expression that computes a tensor from tensors that other ops make.

    Attributes:
        tensors: the tensors in it, outermost first.
        is_curved: whether an activation may be among the ops.
    """

    def __init__(self, root: Node):
        self.root = root
        self.tensors: list[ir.Value] = []
        self.is_curved = False
        pending = [root]
        seen: set[tuple[ir.Value, Any]] = set()
        while pending and len(seen) < _MOST_NODES:
            node = pending.pop(0)
            if (node.value, _place(node)) in seen:
                continue
            seen.add((node.value, _place(node)))
            if is_tensor(node.value) and node.value not in self.tensors:
                self.tensors.append(node.value)
            computed = operation(node)
            if computed is not None:
                self.is_curved |= kind(computed[0]) in _CURVED
                pending += computed[1]

    def holds(self, tensor: ir.Value) -> bool:
        return tensor in self.tensors

    def as_function_of(self, variable: ir.Value) -> tuple[np.ndarray | None, Node | None]:
        """The tree as f(variable) * partner: f at the points, and the partner.

        The first is None where the tree has no such form.
        """
        at = all_elements(variable)
        known: dict[Any, bool] = {}

        def depends(node: Node) -> bool:
            key = (node.value, _place(node))
            if key not in known:
                known[key] = False
                computed = operation(node)
                known[key] = _is_variable(node, at) or (
                    computed is not None and any(map(depends, computed[1]))
                )
            return known[key]

        above, below = factors(self.root, lambda n: not _is_variable(n, at) and depends(n))
        value = np.ones_like(_POINTS)
        partners: list[Node] = []
        curved = False
        for factor, power in [(f, 1) for f in above] + [(f, -1) for f in below]:
            number = _evaluate(factor, at)
            if number is None and power > 0 and not depends(factor):
                partners.append(factor)
                continue
            if number is None:
                return None, None
            curved |= not _is_variable(factor, at) and depends(factor)
            with np.errstate(all="ignore"):
                value = value * number**power
        if len(partners) != 1 or not curved or not np.all(np.isfinite(value)):
            return None, None
        return value, partners[0]


def _place(node: Node) -> tuple[Any, ...]:
    return tuple(at if isinstance(at, int) else at.tobytes() for at in node.index)


def _is_variable(node: Node, at: Node) -> bool:
    """Whether ``node`` is the variable, casts aside."""
    while True:
        if node.value == at.value:
            return _place(node) == _place(at)
        computed = operation(node)
        if computed is not None and kind(computed[0]) in CASTS:
            node = computed[1][0]
            continue
        inner = enter(node)
        return inner.value == at.value and _place(inner) == _place(at)


_UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "arith.extf": lambda x: x,
    "arith.truncf": lambda x: x,
    "arith.negf": np.negative,
    "math.absf": np.abs,
    "math.erf": np.vectorize(erf, otypes=[float]),
    "math.exp": np.exp,
    "math.exp2": np.exp2,
    "math.rsqrt": lambda x: 1 / np.sqrt(x),
    "math.sqrt": np.sqrt,
    "math.tanh": np.tanh,
}

_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "arith.addf": np.add,
    "arith.subf": np.subtract,
    "arith.mulf": np.multiply,
    "arith.divf": np.divide,
    "arith.maximumf": np.maximum,
    "arith.maxnumf": np.maximum,
    "arith.minimumf": np.minimum,
    "arith.minnumf": np.minimum,
    "math.fpowi": np.power,
    "math.powf": np.power,
}

# By the number of the predicate: ordered and unordered comparisons agree on numbers.
_COMPARE: dict[int, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    1: np.equal,
    2: np.greater,
    3: np.greater_equal,
    4: np.less,
    5: np.less_equal,
    6: np.not_equal,
    8: np.equal,
    9: np.greater,
    10: np.greater_equal,
    11: np.less,
    12: np.less_equal,
    13: np.not_equal,
}


def _evaluate(node: Node, at: Node) -> np.ndarray | None:
    """The values of ``node`` where ``at`` has the points; None if it depends on anything else."""
    known: dict[Any, np.ndarray | None] = {}

    def visit(node: Node) -> np.ndarray | None:
        key = (node.value, _place(node))
        if key not in known:
            known[key] = compute(node)
        return known[key]

    def compute(node: Node) -> np.ndarray | None:
        if _is_variable(node, at):
            return _POINTS
        number = constant(node)
        if number is not None:
            return np.full_like(_POINTS, number)
        computed = operation(node)
        if computed is None:
            return None
        op, operands = computed
        values = [value for value in map(visit, operands) if value is not None]
        if len(values) < len(operands):
            return None
        with np.errstate(all="ignore"):
            if kind(op) in _UNARY:
                return _UNARY[kind(op)](values[0])
            if kind(op) in _BINARY:
                return _BINARY[kind(op)](*values)
            if kind(op) == "arith.select":
                return np.where(values[0] != 0, values[1], values[2])
            if kind(op) == "arith.cmpf":
                compare = _COMPARE.get(ir.IntegerAttr(op.attributes["predicate"]).value)
                return None if compare is None else compare(*values).astype(float)
        return None

    return visit(node)
