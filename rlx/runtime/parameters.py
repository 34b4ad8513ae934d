"""Parameters of a model as compiled code wants them."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from rlx.runtime.arguments import as_array, describe
from rlx.runtime.errors import ArgumentError
from rlx.runtime.lazy import derive, forget_pages
from rlx.runtime.program import Program, Spec
from rlx.runtime.quantize import FLOATS, quantize

__all__ = ["gather", "laid_out"]


def gather(
    program: Program, parameters: Mapping[str, Any], bound: Collection[int]
) -> dict[int, np.ndarray]:
    """The parameters of a program that ``parameters`` has, by the numbers of the arguments.

    Packed and quantized ones are made here, and shared as long as someone holds them.

    Args:
        program: what needs them.
        parameters: arrays by name.
        bound: numbers of arguments that may be missing.

    Raises:
        ArgumentError: a parameter is missing or has the wrong type.
    """
    found: dict[int, np.ndarray] = {}
    missing: list[str] = []
    quantized: dict[Any, tuple[np.ndarray, ...]] = {}
    for number, spec in enumerate(program.arguments):
        if not spec.param:
            continue
        if spec.name in parameters:
            found[number] = _as_it_is(spec, parameters[spec.name])
        elif spec.parts and all(part in parameters for part in spec.parts):
            parts = [parameters[part] for part in spec.parts]
            if spec.quantized:
                # Values and scales are made together.
                made = (spec.parts, spec.parts_axis, spec.group)
                if made not in quantized:
                    quantized[made] = _quantize(spec, parts)
                of_both = quantized[made][0 if spec.quantized == "int8" else 1]
                found[number] = _as_it_is(spec, of_both)
            else:
                found[number] = _pack(spec, parts)
        elif number not in bound:
            missing += [p for p in spec.parts if p not in parameters] or [spec.name]
    if missing:
        raise ArgumentError(f"missing parameters: {', '.join(missing)}")
    return found


def laid_out(spec: Spec, value: Any) -> np.ndarray:
    """An argument as compiled code wants it."""
    array = as_array(spec, value)
    return array if spec.tiling is None else spec.tiling.apply(array)


def _as_it_is(spec: Spec, value: Any) -> np.ndarray:
    """A parameter that is one of those that the caller has."""
    if spec.tiling is None:
        return as_array(spec, value)
    how = "tiles", spec.dtype, spec.shape, spec.tiling
    return derive(how, [value], lambda: (laid_out(spec, value),))[0]


def _pack(spec: Spec, values: list[Any]) -> np.ndarray:
    """One array from the parts of a packed parameter."""
    how = "pack", spec.dtype, spec.parts_axis, spec.tiling
    return derive(how, values, lambda: (_packed(spec, values),))[0]


def _quantize(spec: Spec, parts: list[Any]) -> tuple[np.ndarray, ...]:
    """Values and scales of a quantized parameter."""

    def make() -> tuple[np.ndarray, ...]:
        arrays = [np.asarray(part) for part in parts]
        depths = {array.shape[1 - spec.parts_axis] for array in arrays if array.ndim == 2}
        for name, array in zip(spec.parts, arrays, strict=True):
            whole = not spec.group or all(depth % spec.group == 0 for depth in depths)
            if array.ndim != 2 or array.dtype not in FLOATS or len(depths) > 1 or not whole:
                raise ArgumentError(
                    f"parameter '{spec.name}': expected '{name}' to be a matrix of floats that "
                    f"fits, but found {describe(array)}"
                )
        try:
            return quantize(arrays, spec.parts_axis, spec.group)
        except ArgumentError as error:
            raise ArgumentError(f"parameter '{spec.name}': cannot be quantized, {error}") from None

    return derive(("quantize", spec.parts_axis, spec.group), parts, make)


def _packed(spec: Spec, values: list[Any]) -> np.ndarray:
    axis = spec.parts_axis
    shape = tuple(None if at == axis else size for at, size in enumerate(spec.shape))
    arrays = [
        as_array(Spec(name, spec.dtype, shape), value)
        for name, value in zip(spec.parts, values, strict=True)
    ]
    try:
        packed = np.concatenate(arrays, axis)
    except ValueError:
        parts = ", ".join(f"{n}: {describe(a)}" for n, a in zip(spec.parts, arrays, strict=True))
        raise ArgumentError(f"parameter '{spec.name}': cannot pack {parts}") from None
    while arrays:
        forget_pages(arrays.pop())  # those that were made for this are gone before the next copy
    return laid_out(spec, packed)
