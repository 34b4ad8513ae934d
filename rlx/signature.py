"""What a function takes and returns, as the runtime wants to know it."""

from dataclasses import replace
from typing import Any

from rlx import dtypes
from rlx.diagnostics import CompileError
from rlx.host import func, ir
from rlx.passes.export import WRITABLE
from rlx.passes.functions import TILING, Attributes, attributes_of
from rlx.passes.lower_asserts import STATUS
from rlx.passes.quantize_weights import GROUP, QUANTIZE, SCALES, VALUES
from rlx.runtime import Spec
from rlx.runtime.tiles import Tiling

__all__ = ["signature"]


def signature(function: func.FuncOp) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
    """What the function takes and returns, without the status that checks have added.

    Raises:
        CompileError: one of them has no counterpart among arrays and numbers.
    """
    arguments = tuple(
        _spec("argument", f"arg{number}", type_, attributes)
        for number, (type_, attributes) in enumerate(
            zip(function.type.inputs, attributes_of(function, "arg_attrs"), strict=True)
        )
        if STATUS not in attributes
    )
    results = tuple(
        _spec("result", f"result{number}", type_, attributes)
        for number, (type_, attributes) in enumerate(
            zip(function.type.results, attributes_of(function, "res_attrs"), strict=True)
        )
    )
    for kind, specs in (("argument", arguments), ("result", results)):
        names = [spec.name for spec in specs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise CompileError(f"two {kind}s are named '{twice[0]}'")
    return arguments, results


def _spec(kind: str, default: str, type_: ir.Type, attributes: Attributes) -> Spec:
    name = default
    if "rlx.name" in attributes:
        name = _expect(ir.StringAttr, attributes, "rlx.name", f"{kind} '{default}'").value
    where = f"{kind} '{name}'"
    tensor = isinstance(type_, ir.RankedTensorType)
    if tensor and type_.encoding is not None:
        raise CompileError(f"{where}: tensor encodings are not supported, found {type_}")
    element = str(type_.element_type if tensor else type_)
    supported = dtypes.NAMES if tensor else {**dtypes.NAMES, "index": None}
    if element not in supported:
        raise CompileError(
            f"{where}: expected a ranked tensor or a scalar of {', '.join(dtypes.NAMES)}, "
            f"but found {type_}"
        )
    spec = Spec(
        name,
        "i64" if element == "index" else element,
        tuple(None if type_.is_dynamic_dim(at) else size for at, size in enumerate(type_.shape))
        if tensor
        else (),
        scalar=not tensor,
        param="rlx.param" in attributes,
    )
    if TILING in attributes:
        spec = _tiled(spec, _expect(ir.DictAttr, attributes, TILING, where), where)
    if "rlx.parts" in attributes:
        parts = _expect(ir.ArrayAttr, attributes, "rlx.parts", where)
        axis = _expect(ir.IntegerAttr, attributes, "rlx.parts_axis", where).value
        if QUANTIZE in attributes:
            what = _expect(ir.StringAttr, attributes, QUANTIZE, where).value
            if what not in (VALUES, SCALES):
                raise CompileError(
                    f"{where}: expected {QUANTIZE} '{VALUES}' or '{SCALES}', but found '{what}'"
                )
            spec = replace(spec, quantized=what)
        if GROUP in attributes:
            group = _expect(ir.IntegerAttr, attributes, GROUP, where).value
            if group < 1:
                raise CompileError(f"{where}: expected {GROUP} of at least 1, but found {group}")
            spec = replace(spec, group=group)
        if not 0 <= axis < (2 if spec.quantized else len(spec.shape)):
            raise CompileError(f"{where}: rlx.parts_axis {axis} is not an axis of {type_}")
        spec = replace(
            spec, parts=tuple(ir.StringAttr(part).value for part in parts), parts_axis=axis
        )
    if WRITABLE in attributes:
        spec = replace(spec, writable=_expect(ir.BoolAttr, attributes, WRITABLE, where).value)
    return spec


def _tiled(spec: Spec, tiling: ir.DictAttr, where: str) -> Spec:
    """``spec`` of an array that is cut into tiles: with the shape that it has before."""
    fields: list[tuple[int, ...]] = []
    for name in ("shape", "inner_dims_pos", "inner_tiles", "outer_dims_perm"):
        if name not in tiling or not isinstance(tiling[name], ir.DenseI64ArrayAttr):
            raise CompileError(f"{where}: expected {TILING} with integers '{name}', found {tiling}")
        fields.append(tuple(ir.DenseI64ArrayAttr(tiling[name])))
    shape, inner, tiles, outer = fields
    fits = (
        sorted(outer) == list(range(len(shape)))
        and len(inner) == len(tiles) == len({*inner} & {*outer})
        and all(tile > 0 for tile in tiles)
        and Tiling(inner, tiles, outer).shape(shape) == spec.shape
    )
    if not fits:
        raise CompileError(f"{where}: {TILING} {tiling} does not make {spec.type}")
    return replace(spec, shape=shape, tiling=Tiling(inner, tiles, outer))


def _expect(kind: Any, attributes: Attributes, name: str, where: str) -> Any:
    value = attributes.get(name)
    if not isinstance(value, kind):
        raise CompileError(f"{where}: expected {name} to be a {kind.__name__}, but found {value}")
    return value
