"""Bodies of elementwise ops, on vectors of f32."""

from collections.abc import Sequence
from typing import Any

from rlx.host import ir
from rlx.schedules.cpu import code

__all__ = ["FLOATS", "apply_body", "body_key", "index_of"]

FLOATS = (ir.F32Type, ir.BF16Type, ir.F16Type)
"""Types of which elements may be; between the ops of a body, all are f32."""

# What a vector of f32 can be put through.
_ARITH = {
    f"arith.{name}"
    for name in (
        *("addf", "subf", "mulf", "divf", "negf", "cmpf", "select"),
        *("maximumf", "minimumf", "maxnumf", "minnumf"),
    )
}
_MATH = {
    f"math.{name}"
    for name in (
        *("exp", "tanh", "erf", "sqrt", "rsqrt", "absf", "fma", "copysign"),
        *("floor", "ceil", "roundeven"),
    )
}
_CONVERSIONS = {"arith.extf", "arith.truncf"}


def body_key(block: ir.Block, slots: dict[ir.Value, int]) -> Any:
    """What tells a body apart from others; None if it cannot be computed on vectors of f32.

    Args:
        block: of a `linalg.generic`.
        slots: which vector each argument that is used stands for.
    """
    names: dict[ir.Value, Any] = {value: ("argument", slot) for value, slot in slots.items()}
    key: list[tuple[Any, ...]] = []
    for op in block.operations:
        operation = op.operation
        if operation.name == "arith.constant":
            continue
        for value in operation.operands:
            if value in names:
                continue
            constant = _constant(value)
            if constant is None:
                return None
            names[value] = ("constant", constant)
        operands = tuple(names[value] for value in operation.operands)
        if operation.name == "linalg.yield":
            return (*key, operands)
        if operation.name not in _ARITH | _MATH | _CONVERSIONS:
            return None
        if not all(_is_plain(value.type) for value in (*operation.operands, *operation.results)):
            return None
        attributes = tuple(
            sorted(f"{name}={operation.attributes[name]}" for name in operation.attributes)
        )
        names[operation.results[0]] = ("op", len(key))
        key.append((operation.name, attributes, operands))
    return None


def _is_plain(type_: ir.Type) -> bool:
    return isinstance(type_, FLOATS) or type_ == ir.IntegerType.get_signless(1)


def index_of(value: ir.Value) -> int | None:
    """The index that a value is."""
    if isinstance(value.owner, ir.Block) or value.owner.name != "arith.constant":
        return None
    return ir.IntegerAttr(value.owner.attributes["value"]).value


def _constant(value: ir.Value) -> float | None:
    """The number that a scalar is."""
    if isinstance(value.owner, ir.Block) or value.owner.name != "arith.constant":
        return None
    attribute = value.owner.attributes["value"]
    return ir.FloatAttr(attribute).value if isinstance(attribute, ir.FloatAttr) else None


def apply_body(
    block: ir.Block, slots: dict[ir.Value, int], vectors: Sequence[ir.Value]
) -> ir.Value:
    """The body on vectors, if it has a key."""
    wide = vectors[0].type
    lanes = wide.shape[0]
    values = {value: vectors[slot] for value, slot in slots.items()}

    def vector(value: ir.Value) -> ir.Value:
        if value not in values:
            number = _constant(value)
            assert number is not None  # body_key has looked
            values[value] = code.splat(number, lanes)
        return values[value]

    for op in block.operations:
        operation = op.operation
        if operation.name == "arith.constant":
            continue
        operands = [vector(value) for value in operation.operands]
        if operation.name == "linalg.yield":
            return operands[0]
        (result,) = operation.results
        if operation.name in _CONVERSIONS:
            values[result] = operands[0]
            continue
        type_ = wide if isinstance(result.type, FLOATS) else ir.VectorType.get([lanes], result.type)
        values[result] = ir.Operation.create(
            operation.name,
            results=[type_],
            operands=operands,
            attributes={name: operation.attributes[name] for name in operation.attributes},
        ).results[0]
    raise AssertionError("a body ends in linalg.yield")
