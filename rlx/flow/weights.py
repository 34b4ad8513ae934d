"""Where weights come from: arrays in memory, or safetensors files."""

import difflib
import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ml_dtypes
import numpy as np
import safetensors

from rlx.flow.errors import MissingWeightError, WeightError
from rlx.runtime.lazy import LazyArray, forget_pages

__all__ = ["CastWeights", "DictWeights", "SafetensorsWeights", "WeightSource", "as_weights"]

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


@runtime_checkable
class WeightSource(Protocol):
    """Named arrays. A flow asks for each key once per build."""

    def keys(self) -> Iterable[str]:
        """All names, in a stable order."""
        ...

    def get(self, key: str) -> np.ndarray | LazyArray:
        """The array of that name; callers do not write to it.

        Raises:
            MissingWeightError: there is none.
            WeightError: it cannot be read.
        """
        ...

    def origin(self, key: str) -> str:
        """Where ``key`` is or would be, such as a file name: for error messages."""
        ...


def missing(key: str, keys: Iterable[str], origin: str) -> MissingWeightError:
    """The error for an absent key, with the most similar present one."""
    near = difflib.get_close_matches(key, list(keys), 1, cutoff=0.8)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return MissingWeightError(f"missing weight '{key}' in {origin}{hint}")


class DictWeights:
    """Arrays in memory.

    Args:
        arrays: names to arrays, or to anything that ``numpy.asarray`` takes.
    """

    def __init__(self, arrays: Mapping[str, Any]):
        self._arrays = {key: np.asarray(array) for key, array in arrays.items()}

    def keys(self) -> Iterable[str]:
        return self._arrays.keys()

    def get(self, key: str) -> np.ndarray:
        if key not in self._arrays:
            raise missing(key, self._arrays, self.origin(key))
        return self._arrays[key]

    def origin(self, key: str) -> str:
        return "the given arrays"


class CastWeights:
    """The float arrays of another source in one dtype; other arrays as they are.

    Arrays that have to be converted are lazy: no more of them is in memory than someone holds.

    Args:
        source: where the arrays come from.
        dtype: the dtype that float arrays are converted to.
    """

    def __init__(self, source: WeightSource, dtype: np.dtype):
        self._source = source
        self._dtype = np.dtype(dtype)
        self._cast: dict[str, np.ndarray | LazyArray] = {}

    def keys(self) -> Iterable[str]:
        return self._source.keys()

    def get(self, key: str) -> np.ndarray | LazyArray:
        if key not in self._cast:
            array = self._source.get(key)
            if _is_float(array.dtype) and array.dtype != self._dtype:
                array = _converted(array, self._dtype)
            self._cast[key] = array
        return self._cast[key]

    def origin(self, key: str) -> str:
        return self._source.origin(key)


def _converted(source: np.ndarray | LazyArray, dtype: np.dtype) -> LazyArray:
    def make() -> np.ndarray:
        array = np.asarray(source)
        converted = array.astype(dtype)
        forget_pages(array)
        return converted

    return LazyArray(source.shape, dtype, make)


def _is_float(dtype: np.dtype) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype == ml_dtypes.bfloat16


class _File:
    """One safetensors file, memory-mapped."""

    def __init__(self, path: Path):
        self.path = path
        try:
            # The library checks the header against the size of the file. Its NumPy side copies and
            # has no bfloat16, so the arrays themselves are views of a map of our own.
            with safetensors.safe_open(str(path), framework="numpy"):
                pass
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            length = int.from_bytes(self._map[:8], "little")
            self.header: dict[str, Any] = json.loads(self._map[8 : 8 + length])
        except FileNotFoundError:
            raise WeightError(f"no such weight file: {path}") from None
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            raise WeightError(f"cannot read weight file {path}: {error}") from None
        self._data = 8 + length
        self.header.pop("__metadata__", None)

    def get(self, key: str) -> np.ndarray:
        entry = self.header[key]
        if entry["dtype"] not in _DTYPES:
            raise WeightError(
                f"weight '{key}' in {self.path} has dtype {entry['dtype']}; "
                f"supported: {', '.join(_DTYPES)}"
            )
        dtype = _DTYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        array = np.frombuffer(
            self._map, dtype, count=(end - begin) // dtype.itemsize, offset=self._data + begin
        ).reshape(entry["shape"])
        # Headers need not be padded; compiled code expects elements to lie aligned.
        return array if array.flags.aligned else array.copy()


class SafetensorsWeights:
    """Weights in safetensors files, read where they lie on first use.

    Args:
        path: a ``.safetensors`` file, an index (``.index.json``), or a directory that holds
            ``model.safetensors`` or ``model.safetensors.index.json``.

    Raises:
        WeightError: nothing of that kind is there, a file is damaged, or the index names a file
            that is missing or lacks a key it should hold.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        if path.is_dir():
            choices = [path / name for name in (SINGLE_FILE, INDEX_FILE)]
            found = [choice for choice in choices if choice.is_file()]
            if not found:
                raise WeightError(f"expected {SINGLE_FILE} or {INDEX_FILE} in {path}, found none")
            path = found[0]
        self.path = path
        self._files: dict[Path, _File] = {}
        self._loaded: dict[str, np.ndarray] = {}
        if path.name.endswith(".index.json"):
            self._where = _read_index(path)
            self._check_shards()
        else:
            self._where = dict.fromkeys(self._file(path).header, path)

    def keys(self) -> Iterable[str]:
        return self._where.keys()

    def get(self, key: str) -> np.ndarray:
        if key not in self._where:
            raise missing(key, self._where, self.origin(key))
        if key not in self._loaded:
            self._loaded[key] = self._file(self._where[key]).get(key)
        return self._loaded[key]

    def origin(self, key: str) -> str:
        return str(self._where.get(key, self.path))

    def _file(self, path: Path) -> _File:
        if path not in self._files:
            self._files[path] = _File(path)
        return self._files[path]

    def _check_shards(self) -> None:
        for shard in dict.fromkeys(self._where.values()):
            if not shard.is_file():
                raise WeightError(f"{self.path} names {shard.name}, which does not exist")
        for key, shard in self._where.items():
            if key not in self._file(shard).header:
                raise WeightError(f"{self.path} places '{key}' in {shard.name}, which lacks it")


def _read_index(path: Path) -> dict[str, Path]:
    try:
        index = json.loads(path.read_text())
    except FileNotFoundError:
        raise WeightError(f"no such weight index: {path}") from None
    except (OSError, ValueError) as error:
        raise WeightError(f"cannot read weight index {path}: {error}") from None
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise WeightError(f"expected an object 'weight_map' of file names in {path}")
    for name in shards.values():
        if Path(name).name != name:
            raise WeightError(f"{path} names '{name}'; expected a file beside it")
    return {key: path.parent / name for key, name in shards.items()}


def as_weights(weights: Any) -> WeightSource:
    """A weight source for a mapping of arrays, a path, or a weight source.

    Raises:
        TypeError: it is none of these.
        WeightError: the path cannot be read.
    """
    if isinstance(weights, Mapping):
        return DictWeights(weights)
    if isinstance(weights, str | Path):
        return SafetensorsWeights(weights)
    if isinstance(weights, WeightSource):
        return weights
    raise TypeError(
        "expected a mapping of arrays, a path or a WeightSource as weights, "
        f"but got {type(weights).__name__}"
    )
