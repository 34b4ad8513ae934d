"""What a benchmark computes, independent of who computes it."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

__all__ = ["BYTES", "DTYPES", "Arrays", "Case", "Reference", "normal"]

Arrays = dict[str, np.ndarray]

DTYPES = {"f32": np.float32, "bf16": ml_dtypes.bfloat16}
BYTES = {"f32": 4, "bf16": 2, "int8": 1}


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Random f32 that bf16 can hold, so that every dtype sees the same inputs."""
    values = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(scale)
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


Reference = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case(abc.ABC):
    """One row of the table.

    A case may have several problems, such as attention with and without rope on its way in: what is
    compared in time, but has results of its own.

    Attributes:
        name: what the command line calls it.
        label: its sizes, for people.
    """

    name: str
    label: str

    @property
    def dtypes(self) -> tuple[str, ...]:
        return ("f32", "bf16")

    @abc.abstractmethod
    def inputs(self) -> Arrays:
        """Arguments by name, f32; the same on every call."""

    def parameters(self) -> frozenset[str]:
        """Which inputs are weights: known before the clock runs."""
        return frozenset()

    @abc.abstractmethod
    def rows(self) -> int:
        """How many rows the result has."""

    def some_rows(self) -> np.ndarray:
        """Rows that results are compared on."""
        count = self.rows()
        drawn = np.random.default_rng(0).integers(0, count, 6)
        return np.unique(np.r_[0, count - 1, drawn])

    @abc.abstractmethod
    def reference(self, rows: np.ndarray) -> Reference:
        """These rows of the result of each problem, [rows, width], computed in f64."""

    @abc.abstractmethod
    def flops(self) -> float:
        """Floating-point operations that cannot be avoided; what is not a product counts zero."""

    @abc.abstractmethod
    def bytes(self, dtype: str) -> float:
        """What has to be read and written at least."""
