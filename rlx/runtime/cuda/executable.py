"""A compiled function that runs on a GPU, as a Python callable."""

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlx.runtime.call import check_overlap, free_arguments, match
from rlx.runtime.cuda import driver as drivers
from rlx.runtime.cuda.arrays import DeviceArray, Foreign, Memory, is_on_device, itemsize
from rlx.runtime.cuda.launching import Launch, Launcher, Places
from rlx.runtime.cuda.operands import Stream, handle_of, operand, scalar, spans
from rlx.runtime.cuda.plan import Layout, Plan, arrange
from rlx.runtime.errors import ArgumentError, ExecutionError, LoadError
from rlx.runtime.overlap import find_overlap
from rlx.runtime.program import Program, Spec

__all__ = ["CudaExecutable"]

_REMEMBERED = 16
_STATUS_BYTES = 8


class CudaExecutable:
    """A compiled function: arrays in, by position or by name; an array or a tuple of arrays out.

    Arrays on the GPU are used where they are, without a copy, and calls return before the GPU is
    done, as is usual there: results are :class:`DeviceArray`, in the order of the stream. When all
    arguments are NumPy arrays, they are copied, and so are the results. Arguments are never written
    to, except those that the function declares as updated in place.

    Checks of sizes fail at once. Checks of what only the GPU knows, such as ids out of range, fail
    when results are copied to the host, at :meth:`synchronize`, or at a later one of these: until
    then results of a failed call have no meaning, and nothing is read or written out of bounds.

    Attributes:
        program: the code and its signature.
        timings: seconds that each step of the compilation took.
    """

    def __init__(
        self, program: Program, device: int = 0, gpu: Any = None, cubin: bytes | None = None
    ):
        """Args:
        program: what to run.
        device: the number of the GPU.
        gpu: a driver; by default that of the GPU, which is needed at the first call only.
        cubin: machine code of the program, for a GPU that takes it; others translate its PTX.
        """
        if program.plan is None:
            raise LoadError("the program is not for a GPU")
        self.program = program
        self.timings: dict[str, float] = {}
        self._plan: Plan = program.plan
        self._made = [spec for spec in program.results if spec.alias is None]
        self._device = device
        self._cubin = cubin
        self._gpu = gpu
        self._launcher: Any = None
        self._bound: dict[int, Foreign] = {}
        self._pending: dict[int, np.ndarray] = {}  # bound, and not yet on the GPU
        self._free = free_arguments(program, ())
        self._constants: list[Memory] = []
        self._status: Memory | None = None
        self._workspaces: dict[int, Memory] = {}
        self._kept: list[Memory] = []  # what captured graphs may still use
        self._layouts: dict[Any, Layout] = {}
        self._launches: dict[Any, tuple[Layout, list[Launch]]] = {}
        # Streams of the caller: memory is given back in them, so they must last as long.
        self._streams: dict[int, Any] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self.inputs))
        outputs = ", ".join(map(str, self.outputs))
        name, arch = self.program.entry, self._plan.arch
        return f"<rlx executable '{name}' for {arch}: ({inputs}) -> ({outputs})>"

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What a call takes: the arguments that are not bound."""
        return tuple(self.program.arguments[number] for number in self._free.values())

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """What a call returns."""
        return self.program.results

    @property
    def parameters(self) -> tuple[Spec, ...]:
        """The arguments that :meth:`bind` looks for."""
        return tuple(spec for spec in self.program.arguments if spec.param)

    # -- loading

    def load(self) -> Any:
        """Loads the code onto the GPU, once, and returns the GPU's driver.

        Raises:
            LoadError: there is no GPU or no driver, or the GPU is of another architecture.
        """
        with self._lock:
            if self._gpu is None:
                self._gpu = drivers.driver(self._device)
            if self._launcher is None:
                _check_architecture(self._plan.arch, self._gpu)
                with self._gpu.current():
                    self._prepare()
            if self._pending:
                with self._gpu.current():
                    for at, array in self._pending.items():
                        self._bound[at] = self._to_device(self.program.arguments[at], array, 0)
                self._pending.clear()
            return self._gpu

    def _prepare(self) -> None:
        code = self._load_code()
        self._constants = [
            self._upload(self._plan.constant(at), 0) for at in range(len(self._plan.constants))
        ]
        self._status = Memory(self._gpu, _STATUS_BYTES, 0)
        self._gpu.clear(self._status.address, _STATUS_BYTES, 0)
        self._gpu.synchronize(0)
        self._launcher = Launcher(self._gpu, code)

    def _load_code(self) -> Any:
        if self._cubin is not None:
            # One for another GPU is refused.
            with contextlib.suppress(LoadError):
                return self._gpu.load(self._cubin)
        return self._gpu.load(self.program.object_code)

    def _upload(self, data: Any, stream: int) -> Memory:
        """A copy of bytes or of a contiguous array."""
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        memory = Memory(self._gpu, array.nbytes, stream)
        self._gpu.copy_in(memory.address, array.ctypes.data, array.nbytes, stream)
        return memory

    def bind(self, parameters: Mapping[str, Any]) -> "CudaExecutable":
        """Fixes the parameters for all later calls, and returns this object.

        Arrays on the GPU are used as they are; others are copied to it before the first call. A
        packed parameter is put together here from the original ones. Other names are ignored.

        Args:
            parameters: arrays by name; names that were bound before may be left out.

        Raises:
            ArgumentError: a parameter is missing or has the wrong type.
        """
        from rlx.runtime.parameters import gather

        ready = {
            at: spec
            for at, spec in enumerate(self.program.arguments)
            if spec.param and is_on_device(parameters.get(spec.name))
        }
        rest = {name: value for name, value in parameters.items() if not is_on_device(value)}
        with self._lock:
            known = {*self._bound, *self._pending, *ready}
            arrays = gather(self.program, rest, known)
            found = {}
            if ready:
                gpu = self.load()
                with gpu.current():
                    for at, spec in ready.items():
                        found[at] = operand(gpu, spec, parameters[spec.name], Stream())
                    gpu.synchronize(0)  # then calls in any stream find them
            for at in (*found, *arrays):
                self._pending.pop(at, None)
                self._bound.pop(at, None)
            self._bound.update(found)
            self._pending.update(arrays)
            self._free = free_arguments(self.program, {*self._bound, *self._pending})
        return self

    def zeros(self, shape: Sequence[int], dtype: Any) -> DeviceArray:
        """An array of zeros on the GPU, such as a cache that calls update in place."""
        from rlx import dtypes

        name = next(name for name, known in dtypes.NAMES.items() if known == np.dtype(dtype))
        gpu = self.load()
        with gpu.current():
            memory = Memory(gpu, math.prod(shape) * itemsize(name), 0)
            gpu.clear(memory.address, memory.size, 0)
        return DeviceArray(memory, name, shape)

    # -- calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _single(self._call(args, kwargs, 0, {}))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Like a call, with inputs and results by name."""
        return self._named(self._call((), inputs, 0, {}))

    def _named(self, results: list[Any]) -> dict[str, Any]:
        return {spec.name: value for spec, value in zip(self.outputs, results, strict=True)}

    def on(self, stream: Any, out: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """A callable that runs this function on a stream of the caller.

        A call can be captured in a CUDA graph when a call with the same sizes was made on that
        stream before, all arguments are on the GPU, and ``out`` has all results.

        Args:
            stream: a number, or an object with ``__cuda_stream__`` or ``cuda_stream``, as
                torch's and CuPy's have.
            out: arrays on the GPU to write results to, by the names of the results.
        """
        handle = handle_of(stream)
        self._streams[handle] = stream

        def call(*args: Any, **kwargs: Any) -> Any:
            return _single(self._call(args, kwargs, handle, out or {}))

        return call

    def synchronize(self, stream: Any = 0) -> None:
        """Waits for all calls in a stream.

        Raises:
            ExecutionError: a check inside of a call has failed.
        """
        self.load()
        self._raise_if_failed(handle_of(stream))

    def _raise_if_failed(self, stream: int) -> None:
        """Waits for a stream, and raises what checks have found in it."""
        assert self._status is not None
        status = np.zeros(1, np.int64)
        address = self._status.address
        with self._gpu.current():
            self._gpu.copy_out(status.ctypes.data, address, status.nbytes, stream)
            self._gpu.synchronize(stream)
            if status[0]:
                self._gpu.clear(address, status.nbytes, stream)
        if status[0]:
            raise ExecutionError(self.program.messages[int(status[0]) - 1])

    def _call(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], handle: int, out: Mapping[str, Any]
    ) -> list[Any]:
        with self._lock:
            values = match(self.program, args, kwargs, self._free)
            gpu = self.load()
            with gpu.current():
                # The default stream of before per-thread ones cannot record.
                capturing = gpu.is_capturing(handle) if handle else False
                return self._run(values, Stream(handle, capturing), out)

    def _run(self, values: Mapping[int, Any], stream: Stream, out: Mapping[str, Any]) -> list[Any]:
        specs = self.program.arguments
        scalars = {n: scalar(specs[n], v) for n, v in values.items() if specs[n].scalar}
        operands = dict(self._bound)
        copied: dict[int, np.ndarray] = {}
        on_device = bool(out)
        for n, value in values.items():
            if specs[n].scalar:
                continue
            if is_on_device(value):
                operands[n], on_device = operand(self._gpu, specs[n], value, stream), True
            elif stream.capturing:
                raise ArgumentError(
                    f"argument '{specs[n].name}': expected an array on the GPU while a graph "
                    f"is captured, but found {type(value).__name__}"
                )
            else:
                operands[n], copied[n] = self._copied(specs[n], value, stream.handle)
        check_overlap(self.program, values.keys(), lambda: spans(operands))
        layout = self._layout(operands, scalars)
        results = self._results(layout, stream, out)
        self._check_apart(operands, results, out)
        self._launch(layout, operands, results, stream)
        self._remember(values, out, stream.handle)
        written = [n for n in copied if specs[n].writable]
        for n in written:
            array = copied[n]
            self._gpu.copy_out(array.ctypes.data, operands[n].address, array.nbytes, stream.handle)
        if not on_device and not results:
            self._raise_if_failed(stream.handle)
        elif written:
            self._gpu.synchronize(stream.handle)
        made = iter(results)
        returned: list[Any] = []
        for spec in self.program.results:
            if spec.alias is not None:
                # What came from the host has been copied back there.
                returned.append(copied[spec.alias] if spec.alias in copied else values[spec.alias])
                continue
            result = next(made)
            if on_device:
                returned.append(out.get(spec.name, result))
            else:
                returned.append(result.numpy()[()] if spec.scalar else result.numpy())
        return returned

    def _remember(self, values: Mapping[int, Any], out: Mapping[str, Any], stream: int) -> None:
        """Notes in arrays of ours where they were used."""
        for array in (*values.values(), *out.values()):
            if isinstance(array, DeviceArray):
                array.memory.used_on(stream)
        specs = self.program.arguments
        for array in (*(v for n, v in values.items() if specs[n].writable), *out.values()):
            if isinstance(array, DeviceArray):
                array.stream = stream

    # -- arguments

    def _copied(self, spec: Spec, value: Any, stream: int) -> tuple[Foreign, np.ndarray]:
        from rlx import dtypes
        from rlx.runtime.arguments import as_array

        if spec.dtype not in dtypes.NAMES:
            raise ArgumentError(
                f"argument '{spec.name}': expected an array on a GPU, since NumPy has no "
                f"{spec.dtype} without the package ml_dtypes"
            )
        array = as_array(spec, value)
        return self._to_device(spec, array, stream), array

    def _to_device(self, spec: Spec, array: np.ndarray, stream: int) -> Foreign:
        memory = self._upload(np.ascontiguousarray(array), stream)
        return Foreign(memory.address, spec.dtype, array.shape, self._gpu.device, memory)

    # -- memory

    def _layout(self, operands: Mapping[int, Foreign], scalars: Mapping[int, Any]) -> Layout:
        shapes = {n: operand.shape for n, operand in operands.items()}
        free = {n: shape for n, shape in shapes.items() if n not in self._bound}
        key = tuple(free.items()), tuple(scalars.items())
        if key not in self._layouts:
            if len(self._layouts) >= _REMEMBERED:
                self._layouts.pop(next(iter(self._layouts)))
            self._layouts[key] = arrange(self._plan, shapes, scalars)
        layout = self._layouts[key]
        if layout.failed is not None:
            raise ExecutionError(self.program.messages[layout.failed])
        return layout

    def _results(self, layout: Layout, stream: Stream, out: Mapping[str, Any]) -> list[Any]:
        """The memory of results: the caller's, or new."""
        if unknown := sorted(out.keys() - {spec.name for spec in self._made}):
            raise ArgumentError(f"'{self.program.entry}' has no result '{unknown[0]}'")
        found: list[Any] = []
        for spec, result in zip(self._made, self._plan.results, strict=True):
            shape = tuple(layout.values[n] for n in result.shape)
            if spec.name in out:
                wanted = Spec(spec.name, spec.dtype, shape, writable=True)
                found.append(operand(self._gpu, wanted, out[spec.name], stream))
            elif stream.capturing:
                raise ArgumentError(
                    f"result '{spec.name}': expected an array in 'out' while a graph is captured"
                )
            else:
                memory = Memory(self._gpu, layout.values[result.size], stream.handle)
                found.append(DeviceArray(memory, spec.dtype, shape, self._raise_if_failed))
        return found

    def _check_apart(
        self, operands: Mapping[int, Foreign], results: Sequence[Any], out: Mapping[str, Any]
    ) -> None:
        """Arrays of the caller for results share no memory with arguments, or with each other."""
        if not out:
            return
        count = len(self.program.arguments)
        given = {count + at: results[at] for at, spec in enumerate(self._made) if spec.name in out}
        if found := find_overlap(spans({**operands, **given}), set(given)):
            names = [spec.name for spec in (*self.program.arguments, *self._made)]
            first, second = (names[number] for number in found)
            raise ArgumentError(f"result '{first}' shares memory with '{second}'")

    def _workspace(self, size: int, stream: Stream) -> int:
        """Memory that lasts between calls in a stream, so that graphs can use it."""
        if not size:
            return 0
        memory = self._workspaces.get(stream.handle)
        if memory is None or memory.size < size:
            if stream.capturing:
                raise ExecutionError(
                    "a graph can be captured only after a call with the same sizes in that stream"
                )
            memory = self._workspaces[stream.handle] = Memory(self._gpu, size, stream.handle)
        if stream.capturing and memory not in self._kept:
            self._kept.append(memory)
        return memory.address

    # -- launches

    def _launch(
        self,
        layout: Layout,
        operands: Mapping[int, Foreign],
        results: Sequence[Any],
        stream: Stream,
    ) -> None:
        workspace = self._workspace(layout.workspace, stream)
        count = len(self.program.arguments)
        addresses = tuple(operands[n].address if n in operands else 0 for n in range(count))
        made = tuple(result.address for result in results)
        key = id(layout), addresses, made, workspace
        if key not in self._launches:
            if len(self._launches) >= _REMEMBERED:
                self._launches.pop(next(iter(self._launches)))
            places = Places(layout, addresses, workspace, made, self._constants, self._status)
            # The layout is kept, so that no other one gets its identity.
            self._launches[key] = layout, self._launcher.prepare(self._plan, layout, places)
        for launch in self._launches[key][1]:
            self._launcher.run(launch, stream.handle)


def _single(results: list[Any]) -> Any:
    if not results:
        return None
    return results[0] if len(results) == 1 else tuple(results)


def _check_architecture(arch: str, gpu: Any) -> None:
    """Code for a listed architecture runs on newer ones, but for that of one generation only."""
    major, minor = gpu.capability
    number_, exact = int(arch[3:].rstrip("af")), arch[-1] in "af"
    have = 10 * major + minor
    if have < number_ or (exact and have != number_):
        raise LoadError(
            f"the code is for {arch}{' only' if exact else ' and newer'}, but {gpu.name} is "
            f"sm_{have}"
        )
