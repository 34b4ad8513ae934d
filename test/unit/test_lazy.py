"""Arrays made on demand, sharing of what is made of them, and pages that are let go."""

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from rlx.flow import CastWeights, DictWeights
from rlx.runtime.lazy import LazyArray, derive, forget_pages


def counted(array: np.ndarray) -> tuple[LazyArray, list]:
    calls: list = []

    def make() -> np.ndarray:
        calls.append(1)
        return array.copy()

    return LazyArray(array.shape, array.dtype, make), calls


def test_made_once_while_someone_holds_it() -> None:
    lazy, calls = counted(np.arange(6.0).reshape(2, 3))
    assert (lazy.shape, lazy.ndim, lazy.size, lazy.dtype) == ((2, 3), 2, 6, np.float64)
    assert not calls
    first, second = np.asarray(lazy), np.asarray(lazy)
    assert first is second and len(calls) == 1
    assert not first.flags.writeable
    assert np.asarray(lazy, np.float32).dtype == np.float32 and len(calls) == 1
    copy = np.array(lazy)
    copy[:] = 0
    np.testing.assert_array_equal(first, np.arange(6.0).reshape(2, 3))
    del first, second, copy
    gc.collect()
    np.asarray(lazy)
    assert len(calls) == 2


def test_conversion_is_lazy_and_shared() -> None:
    source = CastWeights(DictWeights({"w": np.ones(3), "ids": np.arange(3)}), np.dtype(np.float32))
    assert isinstance(source.get("w"), LazyArray) and source.get("w") is source.get("w")
    assert np.asarray(source.get("w")).dtype == np.float32
    assert source.get("ids").dtype == np.int64 and isinstance(source.get("ids"), np.ndarray)


def test_derived_arrays_are_shared_while_they_live() -> None:
    lazy, _ = counted(np.arange(4.0))
    calls: list = []

    def make() -> tuple[np.ndarray, ...]:
        calls.append(1)
        return (np.asarray(lazy) * 2,)

    (first,) = derive("twice", [lazy], make)
    assert derive("twice", [lazy], make)[0] is first and len(calls) == 1
    assert derive("otherwise", [lazy], make)[0] is not first
    other, _ = counted(np.arange(4.0))
    assert derive("twice", [other], make)[0] is not first
    before = len(calls)
    del first
    gc.collect()
    derive("twice", [lazy], make)
    assert len(calls) == before + 1


@pytest.mark.parametrize("view", [False, True])
def test_arrays_that_can_be_written_to_are_not_remembered(view: bool) -> None:
    array = np.arange(4.0)
    source = array[:]
    source.flags.writeable = not view

    def twice() -> np.ndarray:
        return derive("twice", [source], lambda: (source * 2,))[0]

    kept = twice()
    array[:] = 5
    np.testing.assert_array_equal(twice(), np.full(4, 10.0))
    assert kept[1] == 2


def resident(path: Path) -> int:
    """KiB of a file that this process has mapped and in memory."""
    found, size = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            found = line.endswith(str(path))
        elif found and line.startswith("Rss:"):
            size += int(line.split()[1])
    return size


def test_pages_are_forgotten_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "array"
    values = np.arange(1 << 20, dtype=np.float32)
    path.write_bytes(bytes(12) + values.tobytes())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.frombuffer(mapped, np.float32, offset=12).reshape(1024, 1024)
    assert array.sum() > 0 and resident(path) >= 4096
    forget_pages(array[512:])
    assert 1024 <= resident(path) <= 2048 + 128
    forget_pages(array)
    assert resident(path) <= 128
    np.testing.assert_array_equal(array.reshape(-1), values)


def test_other_arrays_keep_their_pages() -> None:
    for array in (np.ones(3), np.empty(0), np.frombuffer(b"abcd", np.uint8), np.array(1.0)):
        before = array.copy()
        forget_pages(array)
        np.testing.assert_array_equal(array, before)


def test_pages_that_were_written_to_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "array"
    np.zeros(4096, np.float32).tofile(path)
    with path.open("rb") as file:
        copied = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    for pages in (copied, mmap.mmap(-1, 1 << 14, access=mmap.ACCESS_COPY)):
        array = np.frombuffer(pages, np.float32)
        array[:] = 1
        forget_pages(array)
        assert (array == 1).all()
