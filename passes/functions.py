"""What passes and the compiler ask of `func.func`."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from rlx.host import func, ir

__all__ = [
    "Attributes",
    "NAME",
    "PARAM",
    "PARTS",
    "PARTS_AXIS",
    "TILING",
    "attributes_of",
    "attributes_of_argument",
    "functions",
    "is_public",
    "set_attribute_of_argument",
    "set_attributes",
    "symbols",
]

Attributes: TypeAlias = dict[str, ir.Attribute]

NAME, PARAM, PARTS, PARTS_AXIS = "rlx.name", "rlx.param", "rlx.parts", "rlx.parts_axis"
TILING = "rlx.tiling"
"""Attributes of arguments: what a parameter is called, which parts it is packed from, and the tiles
that it is cut into. The latter is a dictionary of `shape`, that of the array before it is cut, and
of what `linalg.pack` knows as `inner_dims_pos`, `inner_tiles` and `outer_dims_perm`."""


def functions(module: ir.Module | ir.Operation) -> list[func.FuncOp]:
    """The functions of a module, nested modules left out."""
    block = module.operation.regions[0].blocks[0]
    return [op for op in block.operations if isinstance(op, func.FuncOp)]


def is_public(function: func.FuncOp) -> bool:
    if "sym_visibility" not in function.attributes:
        return True
    return ir.StringAttr(function.attributes["sym_visibility"]).value == "public"


def attributes_of(function: func.FuncOp, what: str) -> list[Attributes]:
    """The attributes of each argument (``what="arg_attrs"``) or result (``what="res_attrs"``)."""
    type_ = function.type
    count = len(type_.inputs if what == "arg_attrs" else type_.results)
    if what not in function.attributes:
        return [{} for _ in range(count)]
    return [{a.name: a.attr for a in entry} for entry in ir.ArrayAttr(function.attributes[what])]


def attributes_of_argument(function: func.FuncOp, number: int) -> Attributes:
    """The attributes of one argument: functions of deep models have hundreds."""
    if "arg_attrs" not in function.attributes:
        return {}
    return {a.name: a.attr for a in ir.ArrayAttr(function.attributes["arg_attrs"])[number]}


def set_attribute_of_argument(
    function: func.FuncOp, number: int, name: str, value: ir.Attribute
) -> None:
    """Adds an attribute to an argument that has others, or changes it."""
    entries = list(ir.ArrayAttr(function.attributes["arg_attrs"]))
    with function.operation.context:
        entries[number] = ir.DictAttr.get({**attributes_of_argument(function, number), name: value})
        function.attributes["arg_attrs"] = ir.ArrayAttr.get(entries)


def set_attributes(function: func.FuncOp, what: str, values: Sequence[Attributes]) -> None:
    """The counterpart of :func:`attributes_of`."""
    with function.operation.context:
        entries = ir.ArrayAttr.get([ir.DictAttr.get(value) for value in values])
        function.attributes[what] = entries


def symbols(attribute: ir.Attribute) -> Iterator[str]:
    """The symbols that an attribute refers to."""
    if isinstance(attribute, ir.FlatSymbolRefAttr):
        yield attribute.value
    elif isinstance(attribute, ir.SymbolRefAttr):
        yield from attribute.value
    elif isinstance(attribute, ir.ArrayAttr):
        for each in attribute:
            yield from symbols(each)
    elif isinstance(attribute, ir.DictAttr):
        for i in range(len(attribute)):
            yield from symbols(attribute[i].attr)
