"""Makes every .mlir file below this folder a pytest item, run and judged by lit's own machinery.

The tools run in forks of a process that has them imported (see `tool_server.py`), which saves most
of the time; nothing else differs from `lit test`.
"""

import os
import shlex
import subprocess

import lit.discovery
import lit.LitConfig
import lit.Test
import lit.worker
import pytest
from tool_server import ToolServer, tool_environment

_LIT = pytest.StashKey[lit.LitConfig.LitConfig]()
_TOOLS = pytest.StashKey[ToolServer]()


def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".mlir" and not {"Inputs", "Output"} & set(file_path.parts):
        return LitFile.from_parent(parent, path=file_path)


def pytest_unconfigure(config):
    if _TOOLS in config.stash:
        config.stash[_TOOLS].__exit__()


class LitFile(pytest.File):
    def collect(self):
        yield LitItem.from_parent(self, name="lit")


class LitItem(pytest.Item):
    def runtest(self):
        result = _run_lit(self.config, str(self.path))
        if result.code in (lit.Test.UNSUPPORTED, lit.Test.SKIPPED, lit.Test.EXCLUDED):
            pytest.skip(result.output)
        if result.code.isFailure:
            raise LitFailure(f"{result.code.name}: {self.path}\n{result.output}")

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, LitFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, f"lit: {self.path.name}"


class LitFailure(Exception):
    """A lit test did not pass."""


@pytest.fixture
def run_lit(request):
    """Gives lit's result for a file, as the items do."""
    return lambda path: _run_lit(request.config, str(path))


def _run_lit(config, path):
    """lit's result for one file."""
    lit_config = _lit_config(config)
    tests = lit.discovery.find_tests_for_inputs(lit_config, [path])
    if len(tests) != 1:
        raise LitFailure(f"lit finds {len(tests)} tests in {path}")
    (test,) = tests
    _tools(config).start()
    test.setResult(lit.worker._execute(test, lit_config))
    return test.result


@pytest.fixture
def rlx_opt(request, tmp_path):
    """Runs `rlx-opt` with these arguments and gives its `subprocess.CompletedProcess`.

    It runs in an empty folder. ``input`` is text or bytes for stdin; ``env`` are variables to add,
    with which the start takes longer.
    """
    server = _tools(request.config)

    def run(*arguments, input="", env=None, timeout=60):
        server.start()
        done = subprocess.run(
            [*server.command("rlx.tools.rlx_opt"), *map(str, arguments)],
            input=input if isinstance(input, bytes) else input.encode(),
            capture_output=True,
            cwd=tmp_path,
            timeout=timeout,
            env={**os.environ, **tool_environment(), **(env or {})},
        )
        done.output = done.stdout
        done.stdout = done.stdout.decode(errors="replace")
        done.stderr = done.stderr.decode(errors="replace")
        return done

    return run


def _tools(config):
    if _TOOLS not in config.stash:
        config.stash[_TOOLS] = ToolServer()
    return config.stash[_TOOLS]


def _lit_config(config):
    if _LIT not in config.stash:
        folder = config._tmp_path_factory.mktemp("lit")
        config.stash[_LIT] = lit.LitConfig.LitConfig(
            progname="lit",
            path=[],
            diagnostic_level="note",
            useValgrind=False,
            valgrindLeakCheck=False,
            valgrindArgs=[],
            noExecute=False,
            debug=False,
            isWindows=False,
            order="smart",
            params={
                "exec_root": str(folder),
                "start_tool": shlex.join(_tools(config).command()),
            },
        )
    return config.stash[_LIT]
