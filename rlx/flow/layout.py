"""Checkpoints that name or pack their weights in another way than Llama's.

A layout is a tuple of rules. Each takes weights of the checkpoint and says which weights of the
model they hold. In patterns, ``{}`` stands for one part between dots of a name, such as a layer's
number, or for the end of it, as in ``weight`` and ``bias``.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rlx.flow.errors import MissingWeightError, WeightError
from rlx.flow.weights import WeightSource
from rlx.runtime.lazy import LazyArray, forget_pages

__all__ = ["Drop", "LayoutWeights", "Rename", "Rule", "Split", "Stack", "rename_all"]


@dataclass(frozen=True)
class Rename:
    """One weight under another name.

    Attributes:
        source: its name in the checkpoint.
        target: its name in the model.
        transpose: whether a matrix is stored as [in, out].
        flat: whether the model has all elements in one axis.
    """

    source: str
    target: str
    transpose: bool = False
    flat: bool = False


@dataclass(frozen=True)
class Split:
    """Several weights of the model in one of the checkpoint, one after the other along its rows.

    Attributes:
        source: its name in the checkpoint.
        parts: per weight of the model, its name and how many rows of each group it has.
        groups: how many times the parts follow each other, as one head's query, key and value do
            where they lie together per head.
        transpose: whether a matrix is stored as [in, out].
    """

    source: str
    parts: tuple[tuple[str, int], ...]
    groups: int = 1
    transpose: bool = False


@dataclass(frozen=True)
class Stack:
    """One weight of the model [count, ...] from ``count`` of the checkpoint.

    Attributes:
        source: their name in the checkpoint, with ``[]`` for the number 0 to ``count - 1``.
        target: its name in the model.
        count: how many there are.
        flat: whether the model has all elements in one axis.
    """

    source: str
    target: str
    count: int
    flat: bool = False


@dataclass(frozen=True)
class Drop:
    """Weights that say nothing, such as buffers that older versions stored.

    Attributes:
        source: their name in the checkpoint.
    """

    source: str


Rule = Rename | Split | Stack | Drop


def rename_all(prefix: str, names: Sequence[tuple[str, str]]) -> tuple[Rename, ...]:
    """Renames of the modules of a decoder.

    Args:
        prefix: what names in the checkpoint start with, such as ``"gpt_neox."``.
        names: per module its name there and in the model, both without prefix.
    """
    return tuple(
        Rename(f"{prefix}{source}.{{}}", f"model.{target}.{{}}") for source, target in names
    )


@dataclass(frozen=True)
class _Entry:
    """Where a weight of the model comes from: whole, or ``rows`` of every group."""

    sources: tuple[str, ...]
    transpose: bool = False
    stacked: bool = False
    flat: bool = False
    groups: int = 1
    rows: tuple[int, int, int] | None = None  # start, stop, and rows of a group


class LayoutWeights:
    """The weights of another source under the names of the model.

    Weights that no rule mentions keep their names. Slices are views of the other source's arrays
    where these are contiguous; the rest is lazy.

    Args:
        source: the checkpoint.
        rules: its layout; the first rule that fits a name counts.

    Raises:
        WeightError: two weights of the checkpoint are the same one of the model.
    """

    def __init__(self, source: WeightSource, rules: Sequence[Rule]):
        self._source = source
        self._rules = tuple(rules)
        self._entries: dict[str, _Entry] = {}
        patterns = [(rule, _pattern(rule.source)) for rule in self._rules]
        for key in tuple(source.keys()):
            for rule, pattern in patterns:
                if match := pattern.fullmatch(key):
                    self._add(key, rule, match)
                    break
            else:
                self._put(key, _Entry((key,)))

    def _add(self, key: str, rule: Rule, match: re.Match) -> None:
        if isinstance(rule, Drop):
            return
        if isinstance(rule, Rename):
            self._put(_fill(rule.target, match), _Entry((key,), rule.transpose, flat=rule.flat))
        elif isinstance(rule, Stack):
            if int(match["number"]) >= rule.count:
                self._put(key, _Entry((key,)))
            elif (target := _fill(rule.target, match)) not in self._entries:
                sources = [_fill(rule.source, match, number) for number in range(rule.count)]
                self._put(target, _Entry(tuple(sources), stacked=True, flat=rule.flat))
        else:
            start, total = 0, sum(length for _, length in rule.parts)
            for target, length in rule.parts:
                rows = (start, start + length, total)
                entry = _Entry((key,), rule.transpose, groups=rule.groups, rows=rows)
                self._put(_fill(target, match), entry)
                start += length

    def _put(self, key: str, entry: _Entry) -> None:
        if key in self._entries:
            first, second = self._entries[key].sources[0], entry.sources[0]
            raise WeightError(
                f"{self._source.origin(second)} holds '{first}' and '{second}', which are the same "
                "weight of the model"
            )
        self._entries[key] = entry

    def keys(self) -> Iterable[str]:
        return self._entries.keys()

    def get(self, key: str) -> np.ndarray | LazyArray:
        if key not in self._entries:
            raise self._missing(key)
        entry = self._entries[key]
        if entry.stacked:
            return self._stack(entry)
        source = self._source.get(entry.sources[0])
        if entry.flat:
            return _reshaped(source, (source.size,))
        if source.ndim < 1 or (entry.rows is None and not entry.transpose):
            return source
        transpose = entry.transpose and source.ndim == 2
        outputs, *rest = source.shape[::-1] if transpose else source.shape
        start, stop, total = entry.rows or (0, outputs, outputs)
        if entry.rows and outputs != total * entry.groups:
            raise WeightError(
                f"expected '{entry.sources[0]}' in {self.origin(key)} to have "
                f"{total * entry.groups} outputs, '{key}' and others, but its shape is "
                f"{list(source.shape)}"
            )

        def make() -> np.ndarray:
            array = np.asarray(source)
            array = array.T if transpose else array
            grouped = array.reshape(entry.groups, total, *rest)[:, start:stop]
            return np.ascontiguousarray(grouped.reshape(-1, *rest))

        def copy() -> np.ndarray:
            copied = make()
            forget_pages(np.asarray(source))
            return copied

        if not transpose and entry.groups == 1 and isinstance(source, np.ndarray):
            return make()
        return LazyArray(((stop - start) * entry.groups, *rest), source.dtype, copy)

    def _stack(self, entry: _Entry) -> np.ndarray | LazyArray:
        arrays = [self._source.get(name) for name in entry.sources]
        first = arrays[0]
        for name, array in zip(entry.sources, arrays, strict=True):
            if array.shape != first.shape or array.dtype != first.dtype:
                raise WeightError(
                    f"expected '{name}' in {self._source.origin(name)} to be "
                    f"{first.dtype}{list(first.shape)} like '{entry.sources[0]}', but it is "
                    f"{array.dtype}{list(array.shape)}"
                )
        shape = (len(arrays), *first.shape)

        def make() -> np.ndarray:
            made = [np.asarray(array) for array in arrays]
            whole = np.stack(made)
            for array in made:
                forget_pages(array)
            return whole

        stacked = LazyArray(shape, first.dtype, make)
        return _reshaped(stacked, (stacked.size,)) if entry.flat else stacked

    def _missing(self, key: str) -> MissingWeightError:
        """Names the weight of the checkpoint that should have held it."""
        for rule in self._rules:
            for target in _targets(rule):
                if match := _pattern(target).fullmatch(key):
                    source = _fill(rule.source, match, 0)
                    try:
                        self._source.get(source)
                    except MissingWeightError as error:
                        if source == key:
                            return error
                        return MissingWeightError(f"{error.message} (for '{key}')")
        try:
            self._source.get(key)
        except MissingWeightError as error:
            return error
        return MissingWeightError(f"missing weight '{key}' in {self._source.origin(key)}")

    def origin(self, key: str) -> str:
        entry = self._entries.get(key)
        return self._source.origin(entry.sources[0] if entry else key)


def _reshaped(array: np.ndarray | LazyArray, shape: tuple[int, ...]) -> np.ndarray | LazyArray:
    if isinstance(array, np.ndarray):
        return array.reshape(shape)
    return LazyArray(shape, array.dtype, lambda: np.asarray(array).reshape(shape))


def _targets(rule: Rule) -> list[str]:
    if isinstance(rule, Split):
        return [target for target, _ in rule.parts]
    return [] if isinstance(rule, Drop) else [rule.target]


def _pattern(text: str) -> re.Pattern:
    escaped = re.escape(text).replace(r"\{\}", r"([^.]+)").replace(r"\[\]", r"(?P<number>[0-9]+)")
    return re.compile(escaped)


def _fill(text: str, match: re.Match, number: int | None = None) -> str:
    """``text`` with what ``{}`` stood for in the match, and a number for ``[]``."""
    own = match.re.groupindex.get("number")
    parts = [part for index, part in enumerate(match.groups(), 1) if index != own]
    filled = text.format(*parts)
    return filled if number is None else filled.replace("[]", str(number))
