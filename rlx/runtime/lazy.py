"""Arrays that are made when someone asks for them, and kept no longer than someone needs them."""

import mmap
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["LazyArray", "derive", "forget_pages"]


class LazyArray:
    """An array whose shape and dtype are known before its elements are.

    ``numpy.asarray`` makes it. While someone holds what it made, everyone gets that; it is made
    again after the last one has let go. What it makes is read-only.

    Args:
        shape: its sizes.
        dtype: its dtype.
        make: makes the array.

    Attributes:
        shape, ndim, size, dtype: as of an array.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, make: Callable[[], np.ndarray]):
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._make = make
        self._made: weakref.ref[np.ndarray] | None = None
        self._lock = threading.Lock()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._get()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def _get(self) -> np.ndarray:
        with self._lock:
            array = self._made() if self._made is not None else None
            if array is None:
                array = self._make()
                array.flags.writeable = False
                self._made = weakref.ref(array)
            return array

    def __repr__(self) -> str:
        return f"<lazy array {self.dtype}{list(self.shape)}>"


def forget_pages(array: np.ndarray) -> None:
    """Takes the pages of a memory-mapped array out of memory; they are read again when needed.

    Other arrays are left alone, and so are maps that can be written to: their pages may differ from
    what is in the file, if there is one.
    """
    base = _bases(array)[-1]
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise") or not array.size:
        return
    if not memoryview(base).readonly:
        return
    start = array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    aligned = start // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, aligned, start + array.nbytes - aligned)


_Refs = tuple[weakref.ref[Any], ...]
_derived: dict[Any, tuple[_Refs, _Refs]] = {}
_lock = threading.Lock()


def derive(
    how: Any, sources: Sequence[Any], make: Callable[[], tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """``make()``, or what it returned before for the same sources while someone holds all of it.

    So executables of one model share what is made of its weights. Sources that could have been
    written to since are not remembered.

    Args:
        how: tells apart what is made of the same sources; hashable.
        sources: arrays and lazy arrays that ``make`` reads.
        make: makes the arrays.
    """
    fixed = all(isinstance(s, LazyArray) or _is_fixed(s) for s in sources)
    if not fixed:
        return make()
    key = how, tuple(map(id, sources))
    with _lock:
        if key in _derived:
            inputs, outputs = _derived[key]
            arrays = tuple(array for ref in outputs if (array := ref()) is not None)
            same = all(ref() is source for ref, source in zip(inputs, sources, strict=True))
            if same and len(arrays) == len(outputs):
                return arrays
    arrays = make()
    with _lock:
        for old in [k for k, (_, refs) in _derived.items() if any(r() is None for r in refs)]:
            del _derived[old]
        _derived[key] = tuple(map(weakref.ref, sources)), tuple(map(weakref.ref, arrays))
    return arrays


def _bases(array: np.ndarray) -> list[Any]:
    """``array``, what it looks at, what that looks at, and so on to the owner of the memory."""
    found: list[Any] = [array]
    while isinstance(found[-1], np.ndarray | memoryview):
        last = found[-1]
        base = last.base if isinstance(last, np.ndarray) else last.obj
        if base is None:
            break
        found.append(base)
    return found


def _is_fixed(array: Any) -> bool:
    """Whether nobody can write to the memory of an array."""
    *views, owner = _bases(array)
    views = [view for view in (*views, owner) if isinstance(view, np.ndarray)]
    return not any(view.flags.writeable for view in views) and isinstance(
        owner, np.ndarray | mmap.mmap | bytes
    )
