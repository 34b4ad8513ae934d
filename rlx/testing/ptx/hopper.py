"""Barriers in memory, and copies of boxes."""

import re
from dataclasses import dataclass

import numpy as np

from rlx.testing.gpu_interpreter.hopper import box_of, swizzle
from rlx.testing.gpu_interpreter.memory import KernelError
from rlx.testing.ptx.text import Instruction, Kernel, members
from rlx.testing.ptx.warp import PARAMETERS, Lanes, Step, Warp, address, handles, source

__all__ = ["copy_box"]


@dataclass
class Barrier:
    """Attributes:
    count, left: arrivals of a phase, and those to come.
    bytes: to come.
    phase: how many are over.
    """

    count: int
    left: int
    bytes: int = 0
    phase: int = 0

    def arrive(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KernelError("too many arrive at an mbarrier")
        self.check()

    def check(self) -> None:
        if self.left == 0 and self.bytes == 0:
            self.left, self.phase = self.count, self.phase + 1


@handles("mbarrier")
def _barrier(kernel: Kernel, instruction: Instruction) -> Step:
    kind, operands = instruction.words[1:], instruction.operands
    expects = "expect_tx" in kind
    at = address(kernel, operands[1 if expects else 0])
    value = source(kernel, operands[-1], "u32")

    def place(warp: Warp, lane: int | np.integer) -> int:
        return int(at(warp)[lane]) & 0xFFFFFFFF

    def init(warp: Warp, lanes: Lanes) -> None:
        for lane in np.flatnonzero(lanes):
            count = int(value(warp)[lane])
            warp.block.barriers[place(warp, lane)] = Barrier(count, count)

    def wait(warp: Warp, lanes: Lanes) -> None:
        lane = int(np.flatnonzero(lanes)[0])
        barrier, parity = warp.block.barriers[place(warp, lane)], int(value(warp)[lane]) & 1
        warp.waits_for = lambda: barrier.phase & 1 != parity

    def arrive(warp: Warp, lanes: Lanes) -> None:
        for lane in np.flatnonzero(lanes & (value(warp) != 0)):
            barrier = warp.block.barriers[place(warp, lane)]
            barrier.bytes += int(value(warp)[lane]) if expects else 0
            barrier.arrive()

    return {"init": init, "try_wait": wait, "arrive": arrive}[kind[0]]


def copy_box(kernel: Kernel, instruction: Instruction) -> Step:
    """`cp.async.bulk.tensor`, from global to shared memory; lands at once."""
    to, from_, told = instruction.operands
    found = re.fullmatch(r"\[(\S+), \{(.*)\}\]", from_)
    if found is None or "complete_tx::bytes" not in instruction.text:
        raise NotImplementedError(f"PTX: {instruction.text}")
    target, barrier = address(kernel, to), address(kernel, told)
    map_ = source(kernel, found[1], "u64")
    coordinates = [source(kernel, text, "s32") for text in members(found[2])]
    names = list(kernel.parameters)

    def run(warp: Warp, lanes: Lanes) -> None:
        (lane,) = np.flatnonzero(lanes)
        block = warp.block
        token = block.parameters[names[int(map_(warp)[lane]) - PARAMETERS]]
        described = block.gpu.map_of(token)
        start = [int(read(warp)[lane]) for read in reversed(coordinates)]
        chunks = box_of(described.array, start, described.box).reshape(-1).view(np.uint8)
        places = int(target(warp)[lane]) + np.arange(0, len(chunks), 16)
        if places[0] % 128 or places[-1] + 16 > len(block.shared):
            raise KernelError(f"a box at {places[0]:#x}")
        block.shared[swizzle(places)[:, None] + np.arange(16)] = chunks.reshape(-1, 16)
        waited = block.barriers[int(barrier(warp)[lane]) & 0xFFFFFFFF]
        waited.bytes -= len(chunks)
        waited.check()

    return run
