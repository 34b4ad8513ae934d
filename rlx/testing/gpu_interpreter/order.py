"""What comes before what, where the warp groups of a block go their own ways.

Groups run one after the other here, as far as they can: what they do in the wrong order on a GPU
may well look right. So each group counts what it hands over at barriers, and knows how far the
others were when it waited for them. Two accesses of shared memory are in order if whoever comes
later knows of the one before.
"""

from dataclasses import dataclass

import numpy as np

from rlx.testing.gpu_interpreter.memory import Buffer, KernelError

__all__ = ["Order", "Past"]


@dataclass
class Past:
    """What a group knows of, or a barrier hands on.

    Attributes:
        steps: of each group.
        copies: those by TMA that have landed, a bit for each.
    """

    steps: np.ndarray
    copies: int = 0

    def learn(self, other: "Past") -> None:
        self.steps = np.maximum(self.steps, other.steps)
        self.copies |= other.copies


class Order:
    """Of the accesses of shared memory.

    Args:
        groups: how many there are.
        memory: that they share.
    """

    def __init__(self, groups: int, memory: Buffer):
        self.groups, self.memory = groups, memory
        self.known = [self.nothing() for _ in range(groups)]
        for number, past in enumerate(self.known):
            past.steps[number] = 1
        count = -(-len(memory.data) // memory.granule)
        self.writer = np.full(count, -1, np.int8)
        self.written = np.zeros(count, np.int64)  # the writer's step
        self.read_at = np.zeros((groups, count), np.int64)
        self.copy = np.full(count, -1, np.int32)  # by which copy it was written
        self.unfenced = np.zeros(count, bool)
        self.multiplied = np.zeros(count, np.int16)  # products under way that read it
        self.copies = 0

    def nothing(self) -> Past:
        return Past(np.zeros(self.groups, np.int64))

    # -- what groups tell each other ---------------------------------------------------------------

    def release(self, group: int, to: Past) -> None:
        """All that ``group`` did or knows comes before what waits for ``to``."""
        to.learn(self.known[group])
        self.known[group].steps[group] += 1

    def acquire(self, group: int, of: Past) -> None:
        self.known[group].learn(of)

    # -- accesses ----------------------------------------------------------------------------------

    def read(self, group: int, at: np.ndarray) -> None:
        """A load, of granules."""
        self._after_writes(group, at, "reads")
        self.read_at[group, at] = self.known[group].steps[group]

    def write(self, group: int, at: np.ndarray) -> None:
        """A store."""
        self._after_all(group, at, "a store overwrites")
        self.writer[at], self.written[at] = group, self.known[group].steps[group]
        self.copy[at], self.unfenced[at] = -1, True

    def fence(self, group: int) -> None:
        """Stores of the group are there for products and TMA."""
        self.unfenced[self.writer == group] = False

    def start_product(self, group: int, at: np.ndarray) -> None:
        """A product that reads granules, each given once."""
        self._after_writes(group, at, "a product reads")
        if self.unfenced[at].any():
            raise KernelError("a product reads what was stored without a fence")
        self.multiplied[at] += 1

    def end_product(self, group: int, at: np.ndarray) -> None:
        self.multiplied[at] -= 1
        self.read_at[group, at] = self.known[group].steps[group]

    def start_copy(self, group: int, at: np.ndarray) -> int:
        """A copy by TMA to granules; returns its number."""
        self._after_all(group, at, "a copy overwrites")
        if self.unfenced[at].any():
            raise KernelError("a copy overwrites what was stored without a fence")
        number = self.copies
        self.copies += 1
        self.writer[at], self.copy[at] = -1, number
        return number

    # -- checks ------------------------------------------------------------------------------------

    def _after_writes(self, group: int, at: np.ndarray, what: str) -> None:
        known = self.known[group]
        writer = self.writer[at]
        stored = writer >= 0
        late = stored & (writer != group) & (self.written[at] > known.steps[writer])
        if late.any():
            raise KernelError(f"{what} what another group writes, which it has not waited for")
        for number in np.unique(self.copy[at]):
            if number >= 0 and not known.copies >> int(number) & 1:
                raise KernelError(f"{what} what a copy writes that it has not waited for")

    def _after_all(self, group: int, at: np.ndarray, what: str) -> None:
        known = self.known[group]
        if self.multiplied[at].any():
            raise KernelError(f"{what} what a product under way reads")
        for other in range(self.groups):
            if other != group and (self.read_at[other, at] > known.steps[other]).any():
                raise KernelError(f"{what} what another group reads, which it has not waited for")
        self._after_writes(group, at, what)
