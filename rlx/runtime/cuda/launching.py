"""Steps of a plan as launches, with addresses in place of buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlx.runtime.cuda.arrays import Memory, itemsize
from rlx.runtime.cuda.parameters import Packed, number
from rlx.runtime.cuda.plan import Layout, Parameter, Place, Plan, Step
from rlx.runtime.errors import ExecutionError

__all__ = ["Launch", "Launcher", "Places"]


@dataclass(frozen=True)
class Launch:
    """A kernel with everything that it takes."""

    kernel: str
    function: Any
    grid: tuple[int, ...]
    block: tuple[int, ...]
    cluster: tuple[int, ...]
    shared: int
    parameters: Packed


class Places:
    """Addresses of what kernels work on."""

    def __init__(
        self,
        layout: Layout,
        arguments: Sequence[int],
        workspace: int,
        results: Sequence[int],
        constants: Sequence[Memory],
        status: Memory | None,
    ):
        self._layout, self._workspace = layout, workspace
        self._found = {
            "argument": arguments,
            "result": results,
            "constant": [memory.address for memory in constants],
            "status": [0 if status is None else status.address],
        }

    def address(self, place: Place) -> int:
        kind, at = place
        if kind == "workspace":
            return self._workspace + self._layout.offsets[at]
        return self._found[kind][at]


class Launcher:
    """Launches kernels of loaded code."""

    def __init__(self, gpu: Any, code: Any):
        self._gpu, self._code = gpu, code
        self._functions: dict[str, tuple[Any, int]] = {}  # and the shared memory they may use

    def run(self, launch: "Launch", stream: int) -> None:
        try:
            self._gpu.launch(
                launch.function,
                launch.grid,
                launch.block,
                launch.cluster,
                launch.shared,
                stream,
                launch.parameters,
            )
        except ExecutionError as error:
            raise type(error)(
                f"{error}: '{launch.kernel}' with grid {launch.grid}, block {launch.block} and "
                f"{launch.shared} bytes of shared memory"
            ) from None

    def prepare(self, plan: Plan, layout: Layout, places: "Places") -> list[Launch]:
        """What the steps of a plan launch."""
        seen, found = set(), []
        for step in plan.steps:
            if step.once:
                same = _sameness(plan, step, layout.values)
                if same in seen:
                    continue
                seen.add(same)
            if (launch := self._launch(step, layout, places)) is not None:
                found.append(launch)
        return found

    def _launch(self, step: Step, layout: Layout, places: "Places") -> "Launch | None":
        """What a step launches; None where there is nothing to do."""
        values = layout.values
        grid = tuple(values[n] for n in step.grid)
        if 0 in grid:
            return None
        packed: list[bytes] = []
        for parameter in step.parameters:
            packed += self._pack(parameter, values, places)
        shared = values[step.shared]
        return Launch(
            step.kernel,
            self._function(step.kernel, shared),
            grid,
            tuple(values[n] for n in step.block),
            tuple(values[n] for n in step.cluster),
            shared,
            Packed(packed),
        )

    def _function(self, name: str, shared: int) -> Any:
        found, limit = self._functions.get(name, (None, -1))
        if shared > limit:
            found = self._gpu.function(self._code, name, shared)
            self._functions[name] = found, shared
        return found

    def _pack(self, parameter: Parameter, values: list[Any], places: "Places") -> list[bytes]:
        if parameter.kind == "number":
            return [number(parameter.dtype, values[parameter.value])]
        base = places.address(parameter.place)
        sizes = [values[n] for n in parameter.sizes]
        strides = [values[n] for n in parameter.strides]
        offset = values[parameter.offset] * itemsize(parameter.dtype)
        if parameter.kind == "tensor_map":
            box = [values[n] for n in parameter.box]
            return [
                self._gpu.tensor_map(
                    parameter.dtype, base + offset, sizes, strides, box, parameter.swizzle
                )
            ]
        return [
            number("i64", base + offset if parameter.advanced else base),
            *(number("i64", sizes[axis]) for axis in parameter.passed_sizes),
            *(number("i64", strides[axis]) for axis in parameter.passed_strides),
        ]


def _sameness(plan: Plan, step: Step, values: list[Any]) -> tuple[Any, ...]:
    """Equal for steps that are equal but for buffers that nobody else uses."""

    def place(parameter: Parameter) -> Place:
        kind, at = parameter.place
        own = kind == "workspace" and plan.buffers[at].first == plan.buffers[at].last
        return ("own", 0) if own else parameter.place

    parts = [
        (place(p), *(values[n] for n in (p.offset, p.value, *p.sizes, *p.strides)))
        for p in step.parameters
    ]
    return step.kernel, *(values[n] for n in (*step.grid, *step.block)), *parts
