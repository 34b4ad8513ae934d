"""`rlx-bf16-as-i16`: bf16 as bits, for CPUs without bf16 instructions."""

import re
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from rlx.host import ir, llvm
from rlx.passes.base import Pass, types_within, walk

__all__ = ["Bf16AsI16"]

_BF16 = re.compile(r"(?<![A-Za-wyz_])bf16\b")  # also in vector<2xbf16>


@dataclass(frozen=True)
class Bf16AsI16(Pass):
    """Makes every bf16 of the LLVM dialect an i16 with the same bits.

    Without bf16 instructions, LLVM keeps a bf16 that crosses from one block to another as f32, and
    calls a library function that is not everywhere to round it back. Runs when loads, stores,
    branches and casts of bits are all that is left of bf16 (see `arith-expand`).
    """

    name = "rlx-bf16-as-i16"

    def run(self, op: ir.Operation) -> None:
        if not any("bf16" in str(type_) for type_ in types_within(op)):
            return
        types: dict[ir.Type, ir.Type] = {}
        attributes: dict[ir.Attribute, ir.Attribute] = {}

        def retype(value: ir.Value) -> None:
            old = value.type
            if old not in types:
                types[old] = _without_bf16(old)
            if types[old] != old:
                value.set_type(types[old])

        def convert(holder: ir.Operation) -> None:
            for name in list(holder.attributes):
                old = holder.attributes[name]
                if old not in attributes:
                    attributes[old] = _converted(old)
                if attributes[old] != old:
                    holder.attributes[name] = attributes[old]

        for target in (view.operation for view in walk(op)):
            for argument in (a for r in target.regions for b in r.blocks for a in b.arguments):
                retype(argument)
            if _is_list(target):
                _cast(target)
                continue
            for result in target.results:
                retype(result)
            # Data stays as it is: pointers to it have no type.
            if target.name != "llvm.mlir.global":
                convert(target)


def _without_bf16(type_: ir.Type) -> ir.Type:
    text = str(type_)
    return ir.Type.parse(_BF16.sub("i16", text), type_.context) if "bf16" in text else type_


def _converted(attribute: ir.Attribute) -> ir.Attribute:
    """Types with i16 for bf16, and the bits of bf16 constants."""
    if isinstance(attribute, ir.TypeAttr):
        return ir.TypeAttr.get(_without_bf16(attribute.value))
    if isinstance(attribute, ir.FloatAttr) and isinstance(attribute.type, ir.BF16Type):
        return _bits(attribute.value, attribute.context)
    if isinstance(attribute, ir.DenseFPElementsAttr) and _is_bf16(attribute.type):
        bits = _bits(attribute.get_splat_value().value, attribute.context)
        return ir.DenseElementsAttr.get_splat(_without_bf16(attribute.type), bits)
    return attribute


def _is_list(op: ir.Operation) -> bool:
    """Whether ``op`` is a vector of different bf16, which the bindings cannot read."""
    value = op.attributes["value"] if op.name == "llvm.mlir.constant" else None
    return isinstance(value, ir.DenseFPElementsAttr) and _is_bf16(value.type) and not value.is_splat


def _cast(op: ir.Operation) -> None:
    with ir.InsertionPoint.after(op), op.location:
        bits = llvm.bitcast(_without_bf16(op.result.type), op.result)
    op.result.replace_all_uses_except(bits, bits.owner.operation)


def _is_bf16(type_: ir.Type) -> bool:
    return isinstance(ir.ShapedType(type_).element_type, ir.BF16Type)


def _bits(value: float, context: ir.Context) -> ir.IntegerAttr:
    (bits,) = np.array([value], ml_dtypes.bfloat16).view(np.int16).tolist()
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(16, context), bits)
