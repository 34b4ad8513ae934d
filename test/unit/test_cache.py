"""Compiled code on disk and in memory."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import rlx
from rlx import compiler
from rlx.host import ir
from rlx.runtime.cache import DiskCache, MemoryCache, default_folder

TEXT = """
func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  %0 = arith.addf %x, %x : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""
X = np.array([1, 2, 3], np.float32)


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Every test starts with an empty memory."""
    monkeypatch.setattr(compiler, "_memory", MemoryCache())


def forget(monkeypatch):
    monkeypatch.setattr(compiler, "_memory", MemoryCache())


def compiles(text=TEXT, **kwargs):
    """Whether compiling took more than a look into the cache; checks the result in any case."""
    compiled = rlx.compile(text, **kwargs)
    assert compiled(X).tolist() == [2, 4, 6]
    return "llvm" in compiled.timings


def files(folder):
    return sorted(folder.iterdir())


def test_folder_is_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RLX_CACHE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_folder() == tmp_path / "a"
    monkeypatch.delenv("RLX_CACHE_DIR")
    assert default_folder() == tmp_path / "b" / "rlx"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "rlx"


def test_second_time_comes_from_memory(tmp_path):
    assert compiles(cache=tmp_path)
    for file in files(tmp_path):
        file.unlink()
    assert not compiles(cache=tmp_path)


def test_another_process_finds_it_on_disk(tmp_path, monkeypatch):
    assert compiles(cache=tmp_path)
    assert len(files(tmp_path)) == 1
    forget(monkeypatch)
    assert not compiles(cache=tmp_path)
    assert not compiles(cache=DiskCache(tmp_path))


def test_default_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("RLX_CACHE_DIR", str(tmp_path / "new" / "folder"))
    assert compiles()
    assert len(files(tmp_path / "new" / "folder")) == 1


def test_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RLX_CACHE_DIR", str(tmp_path))
    assert compiles(cache=False)
    assert compiles(cache=False)
    assert not files(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"text": TEXT.replace("@main", "@other")},
        {"text": TEXT.replace("%0 = arith.addf %x, %x", "%0 = arith.addf %x, %x fastmath<nnan>")},
        {"text": TEXT.replace("%x: tensor<?xf32>", '%x: tensor<?xf32> {rlx.name = "x"}')},
        {"target": "cpu{opt-level=1}"},
    ],
)
def test_what_the_key_depends_on(tmp_path, change):
    assert compiles(cache=tmp_path)
    assert compiles(cache=tmp_path, **change)


def test_versions_are_part_of_the_key(tmp_path, monkeypatch):
    assert compiles(cache=tmp_path)
    monkeypatch.setattr(compiler, "fingerprint", lambda: "another version")
    assert compiles(cache=tmp_path)


def test_locations_and_names_of_values_of_a_module_do_not_matter(tmp_path):
    def module(text):
        with ir.Context() as context:
            rlx.load_dialects(context)
            return ir.Module.parse(text)

    other = TEXT.replace("%0", "%sum").replace("\n  return", "\n\n  return")
    assert compiles(module(TEXT), cache=tmp_path)
    assert not compiles(module(other), cache=tmp_path)


def test_text_is_taken_as_it_is(tmp_path):
    """Nothing parses it before it is looked up."""
    assert compiles(cache=tmp_path)
    (tmp_path / "text.mlir").write_text(TEXT)
    assert not compiles(tmp_path / "text.mlir", cache=tmp_path)
    assert compiles(TEXT.replace("%0", "%sum"), cache=tmp_path)


def test_the_entry_is_part_of_the_key(tmp_path):
    text = TEXT + TEXT.replace("@main", "@other").replace("arith.addf %x, %x", "arith.negf %x")
    assert compiles(text, cache=tmp_path)
    other = rlx.compile(text, cache=tmp_path, entry="other")
    assert other(X).tolist() == [-1, -2, -3]
    assert "llvm" in other.timings


SECOND_START = """
import sys
import rlx
import numpy as np
compiled = rlx.compile({text!r}, cache={folder!r})
assert compiled(np.ones(3, np.float32)).tolist() == [2, 2, 2]
assert list(compiled.timings) == ["read", "cache"], compiled.timings
heavy = ("rlx.lowering", "rlx.pipeline", "rlx.passes", "rlx.dialects", "mlir.ir", "torch_mlir.ir")
print([name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("target", ["cpu", "cpu{kernels=none}"])
def test_a_second_start_needs_neither_bindings_nor_passes(tmp_path, target):
    assert compiles(cache=tmp_path, target=target)
    script = SECOND_START.format(text=TEXT, folder=str(tmp_path))
    script = script.replace("cache=", f"target={target!r}, cache=")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


def _damage(file, how):
    content = file.read_bytes()
    if how == "empty":
        content = b""
    elif how == "cut":
        content = content[:-1]
    elif how == "half":
        content = content[: len(content) // 2]
    elif how == "flip":
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    elif how == "other":
        content = b"something else entirely"
    file.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "cut", "half", "flip", "other"])
def test_damaged_files_are_replaced(tmp_path, monkeypatch, how):
    assert compiles(cache=tmp_path)
    (file,) = files(tmp_path)
    _damage(file, how)
    forget(monkeypatch)
    assert compiles(cache=tmp_path)
    forget(monkeypatch)
    assert not compiles(cache=tmp_path)


def test_a_folder_in_place_of_a_file(tmp_path, monkeypatch):
    assert compiles(cache=tmp_path)
    (file,) = files(tmp_path)
    file.unlink()
    file.mkdir()
    forget(monkeypatch)
    monkeypatch.setattr(DiskCache, "_warned", False)
    with pytest.warns(UserWarning, match="not cached"):
        assert compiles(cache=tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(DiskCache, "_warned", False)
    blocked = tmp_path / "file" / "cache"
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="RLX_CACHE_DIR"):
        assert compiles(cache=blocked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiles(TEXT.replace("main", "again"), cache=blocked)


def test_no_home(monkeypatch):
    for name in ("RLX_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    monkeypatch.setattr(DiskCache, "_warned", False)
    assert compiles()


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_old_programs_make_room(tmp_path):
    program = rlx.compile(TEXT, cache=False).program
    DiskCache(tmp_path).put("size", program)
    (file,) = files(tmp_path)
    size = file.stat().st_size
    file.unlink()

    cache = DiskCache(tmp_path, limit=3 * size)
    for number, key in enumerate("abc"):
        cache.put(key, program)
        os.utime(tmp_path / f"{key}.rlxc", (number, number))
    assert cache.get("a") is not None  # now the most recent one
    cache.put("d", program)
    assert {file.stem for file in files(tmp_path)} == {"a", "c", "d"}
    assert cache.get("b") is None


def test_the_limit_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RLX_CACHE_SIZE", "3")
    assert DiskCache(tmp_path).limit == 3 * 2**20
    monkeypatch.setenv("RLX_CACHE_SIZE", "lots")
    assert DiskCache(tmp_path).limit == 2**30


def test_programs_survive_the_trip(tmp_path):
    text = """
    func.func @main(%x: tensor<?x2xbf16> {rlx.name = "x"}, %w: tensor<4xf32> {rlx.name = "w",
        rlx.param, rlx.parts = ["a", "b"], rlx.parts_axis = 0 : i64}, %i: i64,
        %c: tensor<4xf32> {bufferization.writable = true})
        -> (tensor<4xf32> {rlx.name = "c"}, i64) {
      %zero = arith.constant 0 : i64
      %ok = arith.cmpi sge, %i, %zero : i64
      cf.assert %ok, "negative"
      return %c, %i : tensor<4xf32>, i64
    }"""
    program = rlx.compile(text, cache=False).program
    cache = DiskCache(tmp_path)
    cache.put("key", program)
    assert cache.get("key") == program
    assert program.messages == ("negative",)
    assert program.results[0].alias == 3


def test_memory_keeps_the_most_recent():
    memory = MemoryCache(limit=2)
    memory.put("a", 1, 1)
    memory.put("b", 2, 2)
    assert memory.get("a") == (1, 1)
    memory.put("c", 3, 3)
    assert [memory.get(key) is not None for key in "abc"] == [True, False, True]


WRITER = """
import sys
import numpy as np
import rlx
for n in range(4):
    text = '''func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {{
      %c = arith.constant dense<{{}}.0> : tensor<1xf32>
      %0 = arith.addf %x, %x : tensor<?xf32>
      return %0 : tensor<?xf32>
    }}'''.replace("{{}}", str(n % 2))
    compiled = rlx.compile(text, cache={folder!r})
    assert compiled(np.ones(3, np.float32)).tolist() == [2, 2, 2]
"""


def test_several_processes_write_at_once(tmp_path):
    script = WRITER.format(folder=str(tmp_path)).replace("{{", "{").replace("}}", "}")
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    found = files(tmp_path)
    assert len(found) == 2
    assert all(DiskCache(tmp_path).get(file.stem) is not None for file in found)
