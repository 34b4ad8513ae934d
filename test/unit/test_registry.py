"""Plugins: packages that add ops, passes and pipelines through entry points."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlx import registry
from rlx.registry import PluginError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the example package is installed, as pip does it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *options]
    subprocess.run(
        [*command, "--target", folder / "site", source],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder / "site"


@pytest.fixture
def plugin(tmp_path):
    """Makes a package with this code, whose entry point is its function ``register``."""

    def make(code, name="broken", entry="{name}_plugin:register"):
        (tmp_path / f"{name}_plugin.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entry = entry.format(name=name)
        (info / "entry_points.txt").write_text(f"[rlx.plugins]\n{name} = {entry}\n")
        return path_with(tmp_path)

    return make


@pytest.fixture
def registering(monkeypatch):
    """Registers the plugins in a folder, for one test."""
    for table in ("_PASSES", "_PIPELINES", "_OP_MODULES"):
        monkeypatch.setattr(registry, table, getattr(registry, table).copy())

    def register(env):
        folder = env["PYTHONPATH"].split(os.pathsep)[0]
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "broken_plugin", raising=False)
        registry._load_plugins.cache_clear()
        registry.pass_names()

    yield register
    monkeypatch.undo()
    registry._load_plugins.cache_clear()
    sys.modules.pop("broken_plugin", None)


def path_with(folder):
    root = str(EXAMPLE.parents[1])
    return {"PYTHONPATH": os.pathsep.join([str(folder), root])}


def test_the_example_adds_an_op_a_pass_and_a_pipeline(installed, rlx_opt):
    env = path_with(installed)
    source = EXAMPLE / "clip.mlir"
    merged = rlx_opt(source, "--example-merge-clips", env=env)
    assert merged.returncode == 0, merged.stderr
    assert merged.stdout.count("rlx.clip") == 1
    assert "high = 1.000000e+00 : f64, low = 0.000000e+00 : f64" in merged.stdout
    lowered = rlx_opt(source, "--pass-pipeline=builtin.module(example-lower{merge=false})", env=env)
    assert lowered.returncode == 0, lowered.stderr
    assert "rlx.clip" not in lowered.stdout
    assert lowered.stdout.count("arith.minimumf") == 2
    listed = rlx_opt("--list-passes", env=env).stdout
    assert "--example-merge-clips" in listed and "--example-lower" in listed
    typo = rlx_opt(source, "--example-merge-clip", env=env)
    assert "did you mean '--example-merge-clips'?" in typo.stderr


def test_the_op_of_the_example_is_verified(installed, rlx_opt):
    text = """func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = "rlx.clip"(%x) {low = 2.0 : f64, high = 1.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}"""
    done = rlx_opt("-", input=text, env=path_with(installed))
    assert done.returncode == 1
    assert (
        "<stdin>:2:8: error: 'rlx.clip' op expects low <= high, but got 2.0 and 1.0" in done.stderr
    )
    assert "rlx.clip" not in rlx_opt("--show-dialects").stdout


def test_a_refused_match_gives_a_remark_with_a_note(installed, rlx_opt):
    text = """func.func @f(%x: tensor<4xf32>) -> tensor<4xf32> {
  %a = "rlx.clip"(%x) {low = 0.0 : f64, high = 1.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  %b = "rlx.clip"(%a) {low = 2.0 : f64, high = 3.0 : f64} : (tensor<4xf32>) -> tensor<4xf32>
  return %b : tensor<4xf32>
}"""
    env = path_with(installed)
    quiet = rlx_opt("-", "--example-merge-clips", input=text, env=env)
    assert quiet.stdout.count("rlx.clip") == 2 and not quiet.stderr
    spoken = rlx_opt("-", "--example-merge-clips", "--rlx-remarks", input=text, env=env)
    assert (
        "<stdin>:3:8: remark: clips stay: nothing is at least 2.0 and at most 1.0" in spoken.stderr
    )
    assert "<stdin>:2:8: note: the first" in spoken.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nothing_like_this", "ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("x = 1", "has no attribute 'register'"),
        ("def register(registry): 1 / 0", "ZeroDivisionError: division by zero"),
        (
            "def register(registry): registry.add_pass('rlx-fuse-gqa', 'a:B')",
            "pass 'rlx-fuse-gqa' is already registered by rlx.passes.fuse_gqa:FuseGqa",
        ),
        (
            "def register(registry): registry.add_pipeline('rlx-fuse-gqa', 'a:B')",
            "pipeline 'rlx-fuse-gqa' is already registered",
        ),
        (
            "def register(registry): registry.add_pass('My_Pass', 'a:B')",
            "pass 'My_Pass': expected a name in kebab case, such as 'my-pass'",
        ),
        (
            "def register(registry): registry.add_pass('my-pass', 'a.B')",
            "pass 'my-pass': expected 'module:Class', but got 'a.B'",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded(plugin, registering, code, message):
    with pytest.raises(PluginError) as caught:
        registering(plugin(code))
    assert str(caught.value).startswith("plugin 'broken' (broken_plugin:register): ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def register(registry): registry.add_op_module('no_such_ops')",
            "cannot load 'no_such_ops': ModuleNotFoundError: No module named 'no_such_ops'",
        ),
        (
            "def register(registry): registry.add_pass('my-pass', 'broken_plugin:Missing')",
            "cannot load 'broken_plugin:Missing': AttributeError",
        ),
        (
            "class Odd: pass\n"
            "def register(registry): registry.add_pass('my-pass', 'broken_plugin:Odd')",
            "pass 'my-pass': broken_plugin:Odd is no dataclass with a method 'run'",
        ),
        (
            "class Odd: pass\n"
            "def register(registry): registry.add_pipeline('my-pass', 'broken_plugin:Odd')",
            "pipeline 'my-pass': broken_plugin:Odd is no dataclass with a method 'text'",
        ),
    ],
)
def test_a_plugin_that_names_what_is_not_there(plugin, registering, code, message):
    registering(plugin(code))
    with pytest.raises(PluginError) as caught:
        for module in registry.op_modules():
            registry.import_target(module)
        registry.pass_class("my-pass")
        registry.pipeline_class("my-pass")
    assert str(caught.value).startswith(message)


def test_a_broken_plugin_gives_one_message(plugin, rlx_opt):
    env = plugin("def register(registry): registry.add_pass('my-pass', 'broken_plugin:Missing')")
    done = rlx_opt("-", "--my-pass", env=env)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("rlx-opt: error: cannot load 'broken_plugin:Missing': AttributeError")


def test_registering_twice_is_one_registration(monkeypatch):
    monkeypatch.setattr(registry, "_PASSES", dict(registry._PASSES))
    registry.add_pass("some-pass", "some.module:Pass")
    registry.add_pass("some-pass", "some.module:Pass")
    assert "some-pass" in registry.pass_names()
    with pytest.raises(PluginError, match=r"already registered by some\.module:Pass"):
        registry.add_pass("some-pass", "some.module:Other")


def test_built_in_names_lead_to_classes_that_carry_them():
    for name in registry.pass_names():
        cls = registry.pass_class(name)
        assert cls.name == name and cls.__doc__
    for name in registry.pipeline_names():
        cls = registry.pipeline_class(name)
        assert cls.name == name and cls.__doc__
    assert registry.pass_class("no-such-pass") is None
    assert registry.pipeline_class("no-such-pass") is None
