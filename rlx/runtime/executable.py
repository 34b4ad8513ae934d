"""A compiled function as a Python callable."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlx.runtime.call import check_overlap, free_arguments, match
from rlx.runtime.errors import ExecutionError
from rlx.runtime.frame import Frame
from rlx.runtime.loader import Loaded
from rlx.runtime.memory import address_of
from rlx.runtime.overlap import Span, spans_of, union
from rlx.runtime.parameters import gather, laid_out
from rlx.runtime.program import Program, Spec

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
        self._state = self._prepare({})

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        return f"<rlx executable '{self.program.entry}': ({inputs}) -> ({outputs})>"

    def __reduce__(self) -> Any:
        raise TypeError("compiled code lives in this process; compile again where it is needed")

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What a call takes: the arguments that are not bound."""
        free, _, _ = self._state
        return tuple(self.program.arguments[number] for number in free.values())

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
        bound = {**self._bound, **gather(self.program, parameters, self._bound)}
        self._state = self._prepare(bound)
        self._bound = bound
        return self

    def _prepare(self, bound: dict[int, np.ndarray]) -> tuple[dict[str, int], list[Span], Frame]:
        """What calls need: which arguments they take, where the others lie, and a frame."""
        free = free_arguments(self.program, bound)
        return free, union(spans_of(bound)), Frame(self.program, bound)

    def zeros(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """An array of zeros where arguments lie, such as a cache that calls update in place."""
        return np.zeros(shape, dtype)

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
        free, bound, frame = self._state
        values = match(self.program, args, kwargs, free)
        specs = self.program.arguments
        arrays = {number: laid_out(specs[number], value) for number, value in values.items()}
        addresses = {number: address_of(array) for number, array in arrays.items()}
        check_overlap(self.program, arrays, lambda: spans_of(arrays, addresses), bound)
        block = frame.fill(arrays, addresses)
        self._function(block.address)
        owned, status = frame.finish(block)
        if status:
            raise ExecutionError(self.program.messages[status - 1])
        returned = iter(owned)
        return [
            next(returned) if spec.alias is None else arrays[spec.alias]
            for spec in self.program.results
        ]
