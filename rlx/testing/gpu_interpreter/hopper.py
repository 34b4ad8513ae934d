"""What is new on Hopper: TMA, barriers in memory, and products of warp groups.

Copies land when somebody waits for their barrier, and products are computed when they are waited
for, so that whoever reads too early, or overwrites too early, is found out. Warp groups run on
their own; whether what they do in shared memory is in order is checked by `order`.
"""

import re
from collections.abc import Callable, Generator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from rlx.testing.gpu_interpreter.memory import POISON, KernelError, TensorMap, View
from rlx.testing.gpu_interpreter.order import Order
from rlx.testing.gpu_interpreter.program import Compiler, Step, attribute, handles
from rlx.testing.gpu_interpreter.threads import Threads, Wait

__all__ = ["box_of", "expect_mappable", "group_size", "swizzle"]

_APART = "nvgpu.mbarrier."


def group_size(ops: set[str], block: tuple[int, int, int]) -> int | None:
    """Threads that run in lock step; None: all. Warp groups go their own ways if they can."""
    threads = block[0] * block[1] * block[2]
    if any(name.startswith(_APART) for name in ops) and threads % 128 == 0:
        return 128
    return None


def swizzle(address: np.ndarray) -> np.ndarray:
    """Where the byte lies when chunks of 16 bytes are permuted within 128 bytes."""
    return address ^ (((address >> 7) & 7) << 4)


# -- barriers --------------------------------------------------------------------------------------


class Barrier:
    """An mbarrier: phases end when all arrived and all expected bytes landed.

    Attributes:
        past: what comes before the end of the phase.
        passed_on: the same of the last one that ended.
    """

    def __init__(self, count: int, order: Order):
        self.count = self.pending = count
        self.bytes, self.phase = 0, 0
        self.copies: list[Callable[[], None]] = []
        self.order, self.past, self.passed_on = order, order.nothing(), order.nothing()

    def arrive(self, group: int, count: int = 1) -> None:
        if count:
            self.order.release(group, self.past)
        for _ in range(count):
            self._arrive()

    def _arrive(self) -> None:
        self.pending -= 1
        if self.pending < 0:
            raise KernelError(f"more than {self.count} threads arrive at an mbarrier")
        self.check()

    def check(self) -> None:
        if self.pending == 0 and self.bytes == 0:
            self.phase += 1
            self.pending = self.count
            self.past, self.passed_on = self.order.nothing(), self.past

    def passed(self, parity: bool) -> bool:
        """Whether the phase of this parity is over; lands what it waits for."""
        if self.phase & 1 == parity and self.copies:
            copies, self.copies = self.copies, []
            for land in copies:
                land()
            if self.bytes < 0:
                raise KernelError("more bytes land than an mbarrier expects")
            self.check()
        return self.phase & 1 != parity


@handles("nvgpu.mbarrier.create")
def _create(c: Compiler, op: Any) -> Step:
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        threads.env[output] = (output,)

    return run


def _barrier(threads: Threads, group: int, number: int) -> Barrier:
    which = int(threads.uniform(threads.env[number], "an mbarrier"))
    key = (threads.env[group][0], which)
    if key not in threads.block.barriers:
        raise KernelError(f"mbarrier {which} is not initialised")
    return threads.block.barriers[key]


def _predicated(threads: Threads, predicate: int | None) -> np.ndarray:
    if predicate is None:
        return threads.mask
    return threads.mask & threads.env[predicate]


@handles("nvgpu.mbarrier.init")
def _init(c: Compiler, op: Any) -> Step:
    group, count, number, *predicate = c.inputs(op)

    def run(threads: Threads) -> None:
        active = _predicated(threads, predicate[0] if predicate else None)
        if not active.any():
            return
        if active.sum() != 1:
            raise KernelError("several threads initialise an mbarrier")
        which = int(threads.uniform(threads.env[number], "an mbarrier"))
        expected = int(threads.uniform(threads.env[count], "a count"))
        order = threads.block.order
        if order is None:
            raise KernelError("mbarriers in a block that is not made of warp groups")
        threads.block.barriers[threads.env[group][0], which] = Barrier(expected, order)

    return run


@handles("nvgpu.mbarrier.arrive.expect_tx")
def _expect(c: Compiler, op: Any) -> Step:
    group, size, number, *predicate = c.inputs(op)

    def run(threads: Threads) -> None:
        active = _predicated(threads, predicate[0] if predicate else None)
        barrier = _barrier(threads, group, number)
        for _ in range(int(active.sum())):
            barrier.bytes += int(threads.uniform(threads.env[size], "a size"))
            barrier.arrive(threads.group)

    return run


@handles("nvgpu.mbarrier.try_wait.parity")
def _wait(c: Compiler, op: Any) -> Step:
    group, parity, _, number = c.inputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        barrier = _barrier(threads, group, number)
        which = bool(threads.uniform(threads.env[parity], "a parity"))
        if not barrier.passed(which):
            text = f"mbarrier {threads.uniform(threads.env[number], 'an mbarrier')}"
            yield (lambda: barrier.passed(which)), f"{text}, parity {int(which)}"
        barrier.order.acquire(threads.group, barrier.passed_on)

    return run


@handles("nvgpu.mbarrier.get")
def _get(c: Compiler, op: Any) -> Step:
    group, number = c.inputs(op)
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        threads.env[output] = np.array([_Handle(_barrier(threads, group, number))], object)

    return run


class _Handle:
    """An address of an mbarrier."""

    def __init__(self, barrier: Barrier):
        self.barrier = barrier


@handles(
    "nvvm.fence.mbarrier.init",
    "nvgpu.tma.prefetch.descriptor",
    "nvgpu.tma.fence.descriptor",
)
def _nothing(c: Compiler, op: Any) -> Step:
    return lambda threads: None


@handles("nvvm.fence.proxy")
def _fence(c: Compiler, op: Any) -> Step:
    def run(threads: Threads) -> None:
        if threads.block.order is not None:
            threads.block.order.fence(threads.group)

    return run


_REGISTERS = 1 << 16


@handles("nvvm.setmaxregister")
def _set_registers(c: Compiler, op: Any) -> Step:
    count = attribute(op, "regCount")

    def run(threads: Threads) -> None:
        if count % 8 or not 24 <= count <= 256:
            raise KernelError(f"expects a multiple of 8 from 24 to 256 registers, got {count}")
        found = threads.block.registers
        found[threads.group] = count
        groups = threads.block.threads // threads.count
        if len(found) == groups and sum(found.values()) * threads.count > _REGISTERS:
            raise KernelError(f"warp groups want {sum(found.values()) * threads.count} registers")

    return run


# -- TMA -------------------------------------------------------------------------------------------


@handles("nvgpu.tma.create.descriptor")
def _descriptor(c: Compiler, op: Any) -> Step:
    source, *box = c.inputs(op)
    output = c.slot(op.results[0])

    def run(threads: Threads) -> None:
        env = threads.env
        sizes = [int(threads.uniform(env[slot], "a size")) for slot in box]
        view = env[source]
        expect_mappable(int(view.offset[0]), view.strides, sizes, view.itemsize)
        threads.env[output] = TensorMap(as_array(view), sizes)

    return run


def expect_mappable(
    address: int, strides: Sequence[int], box: Sequence[int], itemsize: int, swizzle: int = 128
) -> None:
    """Raises for what the driver would refuse to describe.

    Args:
        address: of the first element.
        strides: in elements, the innermost axis last.
        box: elements along each axis.
        itemsize: bytes of an element.
        swizzle: bytes of the pattern.
    """
    steps = [stride * itemsize for stride in strides[:-1]]
    if address % 16 or any(step % 16 for step in steps):
        raise KernelError(f"TMA of rows that are not aligned to 16 bytes: {address=}, {steps=}")
    if not all(0 <= step < 2**40 for step in steps) or len(box) > 5:
        raise KernelError(f"TMA of {len(box)} axes, strides {steps}")
    if strides[-1] != 1 or not all(1 <= size <= 256 for size in box):
        raise KernelError(f"TMA of a box {box}, strides {strides}")
    if box[-1] * itemsize != swizzle:
        raise KernelError(f"a swizzle of {swizzle} bytes of rows of another size")


def as_array(view: View) -> np.ndarray:
    """What a view shows."""
    item = view.itemsize
    if 0 in view.shape:
        return np.zeros(view.shape, view.dtype)
    flat = view.buffer.data[int(view.offset[0]) :]
    flat = flat[: len(flat) // item * item].view(view.dtype)
    strides = [s * item for s in view.strides]
    return np.lib.stride_tricks.as_strided(flat, view.shape, strides)


@handles("nvgpu.tma.async.load")
def _load(c: Compiler, op: Any) -> Step:
    _, _, _, n_at, _, n_mask, n_predicate = attribute(op, "operandSegmentSizes")
    if n_mask or n_predicate:
        raise NotImplementedError("TMA with a mask or a predicate")
    target, group, source, *rest = c.inputs(op)
    at, number = rest[:n_at], rest[n_at]

    def run(threads: Threads) -> None:
        env = threads.env
        if threads.mask.sum() != 1:
            raise KernelError("a TMA copy that several threads start")
        view, map_ = env[target], env[source]
        barrier = _barrier(threads, group, number)
        start = [int(threads.uniform(env[slot], "a coordinate")) for slot in reversed(at)]
        place = int(threads.uniform(view.offset, "an address"))
        if tuple(view.shape) != tuple(map_.box):
            raise KernelError(f"a TMA copy of a box {map_.box} to memory of shape {view.shape}")
        if place % 1024:
            raise KernelError("a swizzled TMA copy to what is not aligned to 1024 bytes")
        values = box_of(map_.array, start, map_.box).reshape(-1)
        size = values.nbytes
        memory = view.buffer
        if place + size > len(memory.data):
            raise KernelError("a TMA copy past the end of shared memory")
        address = swizzle(place + np.arange(0, size, 16))
        bytes_at = address[:, None] + np.arange(16)
        granules = memory.granules(address, 16)
        if memory.in_flight is not None and memory.in_flight[granules].any():
            raise KernelError("a copy overwrites what another one still writes")
        copy = barrier.order.start_copy(threads.group, granules)
        memory.data[bytes_at] = POISON
        memory.fly(address, 16, True)

        def land() -> None:
            barrier.past.copies |= 1 << copy
            memory.data[bytes_at] = values.view(np.uint8).reshape(-1, 16)
            memory.fly(address, 16, False)
            barrier.bytes -= size

        barrier.copies.append(land)

    return run


def box_of(array: np.ndarray, start: list[int], box: Any) -> np.ndarray:
    """A part of an array; zero outside of it."""
    out = np.zeros(tuple(box), array.dtype)
    inside, outside = [], []
    for first, count, size in zip(start, box, array.shape, strict=True):
        low, high = max(first, 0), min(first + count, size)
        if low >= high:
            return out
        inside.append(slice(low, high))
        outside.append(slice(low - first, high - first))
    out[tuple(outside)] = array[tuple(inside)]
    return out


# -- inline assembly -------------------------------------------------------------------------------


@handles("llvm.inline_asm")
def _assembly(c: Compiler, op: Any) -> Step:
    text = attribute(op, "asm_string")
    constraints = [p for p in attribute(op, "constraints").split(",") if not p.startswith("~")]
    if "wgmma.mma_async" in text:
        return _products(c, op, text, constraints)
    if "wgmma.wait_group" in text:
        return _finish(c, op, int(re.search(r"aligned (\d+)", text).group(1)))  # type: ignore[union-attr]
    if "mbarrier.arrive" in text:
        return _arrive(c, op)
    if text == "mov.b32 $0, $1;":
        source, output = c.slot(op.operands[0]), c.slot(op.results[0])
        return lambda threads: threads.env.__setitem__(output, threads.env[source])
    raise NotImplementedError(f"assembly: {text}")


def _arrive(c: Compiler, op: Any) -> Step:
    address, predicate = c.inputs(op)

    def run(threads: Threads) -> Generator[Wait, None, None]:
        active = threads.mask & (threads.env[predicate] != 0)
        handle = threads.env[address][0]
        handle.barrier.arrive(threads.group, int(active.sum()))
        # Whoever waited for it goes on first.
        yield (lambda: True), "nothing"

    return run


def _finish(c: Compiler, op: Any, left: int) -> Step:
    inputs, outputs = c.inputs(op), c.outputs(op)

    def run(threads: Threads) -> None:
        while len(threads.products) > left:
            threads.products.pop(0)()
        if outputs:
            threads.env[outputs[0]] = [threads.env[slot] for slot in inputs]

    return run


_PRODUCT = re.compile(
    r"setp\.ne\.b32 p, (\d), 0; wgmma\.mma_async\.sync\.aligned\.m64n(\d+)k16\.f32\.(\w+)\.\w+ "
    r"\{[^}]*\}, (\{[^}]*\}|\$\d+), \$(\d+), p, ([\d, ]+);"
)
_ELEMENTS = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
_LANE = np.arange(128)
_ROW, _COLUMN = 16 * (_LANE // 32) + _LANE % 32 // 4, _LANE % 4 * 2


def _products(c: Compiler, op: Any, text: str, constraints: list[str]) -> Step:
    inputs, output = c.inputs(op), c.slot(op.results[0])
    outputs = sum(p.startswith("=") for p in constraints)
    given = constraints[outputs:]
    tied = [slot for slot, p in zip(inputs, given, strict=True) if p.isdigit()]
    parts = _PRODUCT.findall(text)
    if not parts or text.count("wgmma.mma_async") != len(parts):
        raise NotImplementedError(f"assembly: {text}")
    if "wgmma.fence" not in text or "wgmma.commit_group" not in text:
        raise KernelError("products without a fence before or a group after")
    columns, element = int(parts[0][1]), _ELEMENTS[parts[0][2]]
    places = [(_ROW + 8 * (r // 2 % 2), 8 * (r // 4) + _COLUMN + r % 2) for r in range(outputs)]

    def run(threads: Threads) -> None:
        env = threads.env
        if not threads.full:
            raise KernelError("wgmma that some threads do not take part in")
        values = [env[slot] for slot in inputs]
        before = [threads.spread(env[slot]) for slot in tied]  # there once those before are
        made = [np.full(128, np.nan, np.float32) for _ in range(outputs)]
        block = threads.block

        def operand(name: str) -> Any:
            return values[int(name.strip("$ ")) - outputs]

        places_of: dict[str, np.ndarray] = {}
        for _, _, _, left, right, flags in parts:
            if not left.startswith("{"):
                places_of[left] = _places(threads, operand(left), 64, False)
            transposed = bool(int(flags.split(",")[-1]))
            places_of[f"${right}"] = _places(threads, operand(right), columns, transposed)
        memory, order = block.memory, block.order
        every = [np.unique(place // memory.granule) for place in places_of.values()]
        used = np.unique(np.concatenate(every))
        if memory.in_flight is not None and memory.in_flight[used].any():
            raise KernelError("a product of what a copy that nobody waited for writes")
        if order is None:
            raise KernelError("wgmma in a block that is not made of warp groups")
        order.start_product(threads.group, used)

        def matrix(name: str) -> np.ndarray:
            return memory.view(element)[places_of[name] // 2].astype(np.float32)

        def go() -> None:
            order.end_product(threads.group, used)
            total = np.zeros((64, columns), np.float32)
            for place, value in zip(places, before, strict=False):
                total[place] = value
            for keep, _, _, left, right, flags in parts:
                numbers = [int(n) for n in flags.split(",")]
                if left.startswith("{"):
                    registers = [operand(name) for name in left.strip("{}").split(",")]
                    a = _from_registers(threads, registers, element)
                else:
                    if numbers[-2]:
                        raise NotImplementedError("a transposed left operand")
                    a = matrix(left)
                total = (total if keep == "1" else 0) + a @ matrix(f"${right}").T
            for place, value in zip(places, made, strict=True):
                value[:] = total[place]

        threads.products.append(go)
        env[output] = made
        block.counters.ops["wgmma"] += len(parts)

    return run


def _from_registers(threads: Threads, registers: list[np.ndarray], element: Any) -> np.ndarray:
    a = np.zeros((64, 16), np.float32)
    for number, register in enumerate(registers):
        pair = np.ascontiguousarray(threads.spread(register)).view(element).reshape(128, 2)
        for e in range(2):
            a[_ROW + 8 * (number % 2), _COLUMN + e + 8 * (number // 2)] = pair[:, e]
    return a


def _places(threads: Threads, value: np.ndarray, rows: int, transposed: bool) -> np.ndarray:
    """Addresses [rows, 16] of what a descriptor names; ``transposed``: rows lie along memory."""
    descriptor = int(threads.uniform(value, "a descriptor")) & (2**64 - 1)
    start, leading, stride = ((descriptor >> at & 0x3FFF) << 4 for at in (0, 16, 32))
    if descriptor >> 62 != 1:
        raise NotImplementedError("a swizzle other than that of 128 bytes")
    if start % 1024 >= (16 if transposed else 128):
        raise NotImplementedError("a matrix that does not begin with rows of the swizzle")
    row, k = np.meshgrid(np.arange(rows), np.arange(16), indexing="ij")
    if transposed:
        at = start + row // 64 * leading + k // 8 * stride + k % 8 * 128 + row % 64 * 2
    else:
        at = start + row // 8 * stride + row % 8 * 128 + k * 2
    at = swizzle(at)
    if int(at.max()) + 2 > len(threads.block.memory.data) or int(at.min()) < threads.block.base:
        raise KernelError("a product of what lies outside of shared memory")
    return at
