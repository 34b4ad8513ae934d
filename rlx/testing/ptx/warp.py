"""Blocks of warps: registers, branches, barriers, and who goes on."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from rlx.testing.gpu_interpreter.memory import POISON, KernelError
from rlx.testing.ptx.text import TYPES, Instruction, Kernel

__all__ = [
    "LANES",
    "PARAMETERS",
    "Block",
    "Lanes",
    "Source",
    "Step",
    "Warp",
    "address",
    "compile_kernel",
    "handles",
    "source",
]

LANES = 32
PARAMETERS = 0xF << 60
"""Where parameters lie, as far as anybody asks for their addresses."""

Lanes = np.ndarray
"""i1 for each lane: whether it takes part."""

Step = Callable[["Warp", Lanes], None]
Source = Callable[["Warp"], np.ndarray]
Handler = Callable[[Kernel, Instruction], Step]

HANDLERS: dict[str, Handler] = {}

_TOGETHER = {"bar", "shfl", "ldmatrix", "mma", "wgmma", "setmaxnreg"}
"""Instructions that all lanes of a warp execute together."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Makes a function the one that compiles instructions whose opcode begins like this."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def compile_kernel(kernel: Kernel) -> list[Step]:
    """What executes each instruction of a kernel."""
    return [_compile(kernel, instruction) for instruction in kernel.code]


def _compile(kernel: Kernel, instruction: Instruction) -> Step:
    handler = HANDLERS.get(instruction.words[0])
    if handler is None:
        raise NotImplementedError(f"PTX: {instruction.text}")
    step, predicate = handler(kernel, instruction), instruction.predicate
    if not predicate:
        return step

    def run(warp: "Warp", lanes: Lanes) -> None:
        wanted = lanes & (warp.predicates[predicate] ^ instruction.negated)
        if wanted.any():
            step(warp, wanted)

    return run


class Warp:
    """Attributes:
    threads: numbers of its lanes' threads in the block.
    copies: groups of copies to shared memory that nobody waited for, the last one open.
    products: the same of products.
    """

    def __init__(self, block: "Block", first: int):
        self.block = block
        self.threads = first + np.arange(LANES)
        self.done = self.threads >= block.threads
        self.copies: list[list[Callable[[], None]]] = [[]]
        self.products: list[list[Callable[[], None]]] = [[]]
        self.predicates: dict[str, np.ndarray] = {}
        self.waits_for: Callable[[], bool] | None = None
        self._registers: dict[str, np.ndarray] = {}
        self._at = np.zeros(LANES, np.int64)
        self._parked = np.zeros(LANES, bool)

    def read(self, register: str) -> np.ndarray:
        return self._registers[register]

    def write(self, register: str, lanes: Lanes, value: np.ndarray) -> None:
        """Values of any type; bits above are zero."""
        bits = np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}").astype(np.uint64)
        before = self._registers.get(register, np.full(LANES, 2**64 - 1, np.uint64))
        self._registers[register] = np.where(lanes, bits, before)

    def tell(self, predicate: str, lanes: Lanes, value: np.ndarray) -> None:
        before = self.predicates.get(predicate, np.zeros(LANES, bool))
        self.predicates[predicate] = np.where(lanes, value, before)

    def jump(self, lanes: Lanes, target: int) -> None:
        self._at[lanes] = target

    def step(self) -> None:
        """Executes an instruction for the lanes that are behind the others."""
        left = ~self.done
        running = left & ~self._parked
        if running.any():
            at = self._at[running].min()
            lanes = running & (self._at == at)
            together = self.block.kernel.code[at].words[0] in _TOGETHER
            if together and (lanes != left).any():
                self._parked |= lanes
                return
        else:
            places = set(self._at[left].tolist())
            if len(places) > 1:
                found = [self.block.kernel.code[n].text for n in places]
                raise KernelError(f"lanes of a warp do not come together: {found}")
            (at,) = places
            lanes = left
            self._parked[:] = False
        self._at[lanes] = at + 1
        self.block.steps[at](self, lanes)


class Block:
    """A block of a launch.

    Attributes:
        gpu: whose memory it works on.
        parameters: bytes by name.
        number: of the block, along x.
        shared: shared memory, with what lies before it.
        barriers: mbarriers by address.
    """

    def __init__(
        self,
        gpu: Any,
        kernel: Kernel,
        steps: list[Step],
        parameters: dict[str, bytes],
        number: int,
        threads: int,
        shared: int,
    ):
        self.gpu, self.kernel, self.steps = gpu, kernel, steps
        self.parameters, self.number, self.threads = parameters, number, threads
        self.shared = np.full(kernel.dynamic + shared, POISON, np.uint8)
        self.barriers: dict[int, Any] = {}
        self._arrived: dict[int, int] = {}
        self._passed: dict[int, int] = {}
        self._warps = [Warp(self, first) for first in range(0, threads, LANES)]

    def run(self) -> None:
        while left := [warp for warp in self._warps if not warp.done.all()]:
            moved = False
            for warp in left:
                if warp.waits_for is not None and warp.waits_for():
                    warp.waits_for = None
                while warp.waits_for is None and not warp.done.all():
                    warp.step()
                    moved = True
            if not moved:
                raise KernelError(f"{self.kernel.name}: {len(left)} warps wait for nothing")
        if any(self._arrived.values()):
            raise KernelError("a barrier that not all have reached")

    def arrive(self, number: int, threads: int) -> Callable[[], bool]:
        """A warp arrives at a barrier of so many threads; what tells whether all have."""
        generation = self._passed.get(number, 0)
        self._arrived[number] = self._arrived.get(number, 0) + LANES
        if self._arrived[number] >= threads:
            self._arrived[number], self._passed[number] = 0, generation + 1
        return lambda: self._passed.get(number, 0) != generation

    def memory(self, space: str, at: int, size: int) -> np.ndarray:
        """Bytes of shared or global memory.

        Raises:
            KernelError: they are misaligned, or nobody's.
        """
        if at % size:
            raise KernelError(f"{self.kernel.name}: {size} bytes at {at:#x} are misaligned")
        if space == "shared":
            root, start = self.shared, at
        else:
            root, start = self.gpu.find(at, size)
        if not 0 <= start <= len(root) - size:
            raise KernelError(f"{self.kernel.name}: {size} bytes at {at:#x} are out of bounds")
        return root[start : start + size]


# -- operands --------------------------------------------------------------------------------------


def source(kernel: Kernel, text: str, type_: str) -> Source:
    """What reads an operand as an array of a type, a number for each lane."""
    dtype = TYPES[type_]
    bits = np.dtype(f"u{dtype.itemsize}")
    if special := _SPECIAL.get(text):
        return lambda warp: np.broadcast_to(special(warp), LANES).astype(bits).view(dtype)
    if text.startswith("%"):
        return lambda warp: warp.read(text).astype(bits).view(dtype)
    value = np.full(LANES, _constant(kernel, text) & (2 ** (8 * bits.itemsize) - 1), bits)
    return lambda warp: value.view(dtype)


_SPECIAL: dict[str, Callable[[Warp], Any]] = {
    "%tid.x": lambda warp: warp.threads,
    "%ctaid.x": lambda warp: warp.block.number,
    "%ntid.x": lambda warp: warp.block.threads,
}


def _constant(kernel: Kernel, text: str) -> int:
    if re.fullmatch(r"0[fd][0-9A-Fa-f]+", text):
        return int(text[2:], 16)
    if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)", text):
        return int(text, 0)
    if text in kernel.shared:
        return kernel.shared[text]
    if text in kernel.parameters:
        return PARAMETERS + list(kernel.parameters).index(text)
    if text.startswith("__dynamic_shmem"):
        return kernel.dynamic
    raise NotImplementedError(f"PTX operand: {text}")


def address(kernel: Kernel, text: str) -> Source:
    """What reads the address in brackets."""
    base, _, offset = text.strip("[]").partition("+")
    # A register of 32 bits is enough for shared memory.
    found = source(kernel, base, "u64")
    return lambda warp: found(warp).astype(np.int64) + int(offset or 0)
