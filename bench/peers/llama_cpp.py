"""llama.cpp, through the C interface of its shared library.

``RLX_BENCH_LLAMA`` is the folder that holds ``libllama`` and the libraries it needs, such as a
package of prebuilt binaries brings along.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import Case, Decode, Prefill
from bench.cases.model import CAPACITY, Geometry, Model
from bench.peers.base import Peer, Variant, Variants

__all__ = ["LlamaCpp"]

_FOLDER = "RLX_BENCH_LLAMA"


class _Params(ctypes.Structure):
    """Parameters by value. We name those at the start; what comes after differs by version.

    The platform passes such structures in memory, so one that is too large does no harm.
    """

    _fields_ = [
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 1012),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("pointers", ctypes.c_void_p * 6)]


class LlamaCpp(Peer):
    name = "llama.cpp"
    modules = ("gguf",)

    def __init__(self, threads: int):
        super().__init__(threads)
        self._library = _library()

    @classmethod
    def missing(cls) -> str:
        if not os.environ.get(_FOLDER):
            return f"{_FOLDER} is not set"
        return super().missing()

    def versions(self) -> dict[str, str]:
        return {"llama.cpp": _file("libllama").name.removeprefix("libllama").strip(".so") or "?"}

    def variants(self, case: Case, dtype: str) -> Variants:
        if not isinstance(case, Model):
            return {}
        stored = {"bf16": "bf16", "int8": "q8_0"}.get(dtype)
        if stored is None:
            return {}  # with its cache in f16, it is no f32
        return {f"llama.cpp {stored}": lambda: self._variant(case, stored)}

    def _variant(self, case: Model, stored: str) -> Variant:
        library = self._library
        context, memory = _context(str(_gguf(case.geometry, stored)), self.threads)
        ids = case.inputs()["ids"][0].astype(np.int32)
        library.llama_memory_clear(memory, True)

        def decode(tokens: np.ndarray) -> None:
            pointer = tokens.ctypes.data_as(ctypes.c_void_p)
            batch = library.llama_batch_get_one(pointer, len(tokens))
            if status := library.llama_decode(context, batch):
                raise RuntimeError(f"llama_decode: status {status}")

        def logits(_: Any) -> np.ndarray:
            pointer = library.llama_get_logits_ith(context, -1)
            return np.ctypeslib.as_array(pointer, (1, case.geometry["vocab_size"])).copy()

        def drop(first: int) -> None:
            library.llama_memory_seq_rm(memory, 0, first, -1)

        prompt = ids[: case.prompt]
        if isinstance(case, Prefill):
            return Variant(lambda: decode(prompt), logits, after=lambda: drop(0))
        assert isinstance(case, Decode)
        decode(prompt)
        token = ids[case.prompt :]
        return Variant(lambda: decode(token), logits, after=lambda: drop(case.prompt))


def _file(start: str) -> Path:
    """The library in the folder whose name begins so."""
    found = sorted(Path(os.environ[_FOLDER]).glob(f"{start}*.so*"), key=lambda p: len(p.name))
    found = [path for path in found if path.name[len(start)] == "."]
    if not found:
        raise FileNotFoundError(f"no {start}*.so in {os.environ[_FOLDER]}")
    return found[0]


@cache
def _library() -> Any:
    backends = ctypes.CDLL(str(_file("libggml")), ctypes.RTLD_GLOBAL)
    backends.ggml_backend_load_all_from_path(os.environ[_FOLDER].encode())
    library = ctypes.CDLL(str(_file("libllama")))
    pointer, i32 = ctypes.c_void_p, ctypes.c_int32
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "llama_model_default_params": (_Params, []),
        "llama_context_default_params": (_Params, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, _Params]),
        "llama_init_from_model": (pointer, [pointer, _Params]),
        "llama_set_n_threads": (None, [pointer, i32, i32]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_clear": (None, [pointer, ctypes.c_bool]),
        "llama_memory_seq_rm": (ctypes.c_bool, [pointer, i32, i32, i32]),
        "llama_batch_get_one": (_Batch, [pointer, i32]),
        "llama_decode": (i32, [pointer, _Batch]),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [pointer, i32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    return library


@cache
def _context(path: str, threads: int) -> tuple[Any, Any]:
    """A loaded model ready to run, and its cache."""
    library = _library()
    model = library.llama_model_load_from_file(path.encode(), library.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    params = library.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = CAPACITY, CAPACITY, 512
    context = library.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp cannot run {path}")
    library.llama_set_n_threads(context, threads, threads)
    return context, library.llama_get_memory(context)


def _gguf(geometry: Geometry, stored: str) -> Path:
    """The model in llama.cpp's format; made on the first call."""
    path = geometry.checkpoint() / f"{stored}.gguf"
    if not path.exists():
        from bench.peers.llama_gguf import write_gguf

        write_gguf(geometry, stored, path)
    return path
