"""What computes a case."""

import abc
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, ClassVar

import numpy as np

from bench.cases import Case

__all__ = ["Peer", "Variant"]


@dataclass(frozen=True)
class Variant:
    """One way to compute a case, ready to run.

    Attributes:
        run: computes it once; what is timed.
        result: what ``run`` gave, as an array [rows, width].
        problem: which of the case's problems it solves; the first one that there is if empty.
        after: called after each run, off the clock.
    """

    run: Callable[[], Any]
    result: Callable[[Any], np.ndarray]
    problem: str = ""
    after: Callable[[], None] | None = None


Variants = dict[str, Callable[[], Variant]]


class Peer(abc.ABC):
    """A tool. Lives in a process of its own.

    Attributes:
        name: what the table calls it.
        modules: what has to be importable.
        distributions: whose versions are reported.
        threads: how many threads it may use.
    """

    name: ClassVar[str] = ""
    modules: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, threads: int):
        self.threads = threads

    @classmethod
    def missing(cls) -> str:
        """What is not installed here; empty if nothing."""
        return ", ".join(m for m in cls.modules if importlib.util.find_spec(m) is None)

    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in self.distributions}

    @abc.abstractmethod
    def variants(self, case: Case, dtype: str) -> Variants:
        """Ways to compute ``case``, by name, each made when it is called; none if it has none."""
