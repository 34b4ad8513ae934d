"""A compiled function as a Python callable."""

import ctypes
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlx.runtime.arguments import as_array, describe
from rlx.runtime.errors import ArgumentError, ExecutionError
from rlx.runtime.frame import Frame
from rlx.runtime.lazy import derive, forget_pages
from rlx.runtime.loader import Loaded
from rlx.runtime.overlap import Span, find_overlap, spans_of
from rlx.runtime.program import Program, Spec
from rlx.runtime.quantize import FLOATS, quantize

__all__ = ["Executable"]


class Executable:
    """A compiled function: arrays in, by position or by name; an array or a tuple of arrays out.

    Calls may run in several threads at once; compiled code runs without the interpreter lock.
    Arguments are never written to, except those that the function declares as updated in place.
    Results own their memory.

    Attributes:
        program: the code and its signature.
        loaded: the code in memory.
        timings: seconds that each step of the compilation took.
    """

    def __init__(self, program: Program, loaded: Loaded | None = None):
        self.program = program
        self.timings: dict[str, float] = {}
        self.loaded = loaded or Loaded(program.object_code)
        address = self.loaded.address(program.symbol)
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
        self._bound: dict[int, np.ndarray] = {}
        self._spans: list[Span] = []
        self._frame = Frame(program, self._bound)

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        return f"<rlx executable '{self.program.entry}': ({inputs}) -> ({outputs})>"

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What a call takes: the arguments that are not bound."""
        specs = enumerate(self.program.arguments)
        return tuple(spec for number, spec in specs if number not in self._bound)

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """What a call returns."""
        return self.program.results

    @property
    def parameters(self) -> tuple[Spec, ...]:
        """The arguments that :meth:`bind` looks for."""
        return tuple(spec for spec in self.program.arguments if spec.param)

    def bind(self, parameters: Mapping[str, Any]) -> "Executable":
        """Fixes the parameters for all later calls, and returns this object.

        Arrays are used as they are, without a copy, where they are contiguous. A packed parameter
        is put together here from the original ones; executables that are bound to the same
        memory-mapped or lazy arrays share it. Other names are ignored.

        Args:
            parameters: arrays by name; names that were bound before may be left out.

        Raises:
            ArgumentError: a parameter is missing or has the wrong type.
        """
        bound = dict(self._bound)
        missing = []
        quantized: dict[Any, tuple[np.ndarray, ...]] = {}
        for number, spec in enumerate(self.program.arguments):
            if not spec.param:
                continue
            if spec.name in parameters:
                bound[number] = _as_it_is(spec, parameters[spec.name])
            elif spec.parts and all(part in parameters for part in spec.parts):
                parts = [parameters[part] for part in spec.parts]
                if spec.quantized:
                    # Values and scales are made together.
                    made = (spec.parts, spec.parts_axis, spec.group)
                    if made not in quantized:
                        quantized[made] = _quantize(spec, parts)
                    found = quantized[made][0 if spec.quantized == "int8" else 1]
                    bound[number] = _as_it_is(spec, found)
                else:
                    bound[number] = _pack(spec, parts)
            elif number not in bound:
                missing += [p for p in spec.parts if p not in parameters] or [spec.name]
        if missing:
            raise ArgumentError(f"missing parameters: {', '.join(missing)}")
        self._frame = Frame(self.program, bound)
        self._bound = bound
        self._spans = spans_of(bound)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        results = self._call(args, kwargs)
        if not results:
            return None
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Like a call, with inputs and results by name."""
        results = self._call((), inputs)
        return {spec.name: value for spec, value in zip(self.outputs, results, strict=True)}

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        frame, bound, spans = self._frame, self._bound, self._spans
        arrays = self._arrange(args, kwargs, bound)
        self._check_overlap(arrays, spans)
        memory = frame.fill(arrays)
        self._function(memory.ctypes.data)
        owned = frame.results(memory)
        if status := frame.status(memory):
            raise ExecutionError(self.program.messages[status - 1])
        returned = iter(owned)
        return [
            next(returned) if spec.alias is None else arrays[spec.alias]
            for spec in self.program.results
        ]

    def _arrange(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], bound: dict[int, np.ndarray]
    ) -> dict[int, np.ndarray]:
        """The arguments of a call by number, as arrays."""
        free = [n for n in range(len(self.program.arguments)) if n not in bound]
        specs = self.program.arguments
        if len(args) > len(free):
            raise ArgumentError(
                f"'{self.program.entry}' expects {len(free)} arguments, but found {len(args)}"
            )
        values = dict(zip(free, args, strict=False))
        if kwargs:
            numbers = {specs[number].name: number for number in free}
            for name, value in kwargs.items():
                if name not in numbers:
                    near = difflib.get_close_matches(name, numbers, 1)
                    hint = f"; did you mean '{near[0]}'?" if near else ""
                    raise ArgumentError(f"'{self.program.entry}' has no argument '{name}'{hint}")
                if numbers[name] in values:
                    raise ArgumentError(f"argument '{name}' is given twice")
                values[numbers[name]] = value
        if len(values) < len(free):
            missing = [str(specs[number]) for number in free if number not in values]
            raise ArgumentError(f"'{self.program.entry}': missing arguments: {', '.join(missing)}")
        return {number: _laid_out(specs[number], value) for number, value in values.items()}

    def _check_overlap(self, arrays: dict[int, np.ndarray], bound: list[Span]) -> None:
        """What is updated in place must not be visible through another argument."""
        written = {number for number in arrays if self.program.arguments[number].writable}
        if not written:
            return
        if found := find_overlap([*spans_of(arrays), *bound], written):
            name, other = (self.program.arguments[number].name for number in found)
            raise ArgumentError(
                f"argument '{name}' is updated in place, but shares memory with argument '{other}'"
            )


def _laid_out(spec: Spec, value: Any) -> np.ndarray:
    """An argument as compiled code wants it."""
    array = as_array(spec, value)
    return array if spec.tiling is None else spec.tiling.apply(array)


def _as_it_is(spec: Spec, value: Any) -> np.ndarray:
    """A parameter that is one of those that the caller has."""
    if spec.tiling is None:
        return as_array(spec, value)
    how = "tiles", spec.dtype, spec.shape, spec.tiling
    return derive(how, [value], lambda: (_laid_out(spec, value),))[0]


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
    for array in arrays:
        forget_pages(array)
    return _laid_out(spec, packed)
