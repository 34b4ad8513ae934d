"""Makes every .mlir file below this folder a pytest item, run and judged by lit's own machinery.

The tools run in forks of a process that has them imported (see `tool_server.py`), which saves most
of the time; nothing else differs from `lit test`.
"""

import shlex

import lit.discovery
import lit.LitConfig
import lit.Test
import lit.worker
import pytest
from tool_server import ToolServer

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
        result = run_lit(self.config, str(self.path))
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


def run_lit(config, path):
    """lit's result for one file."""
    lit_config = _lit_config(config)
    tests = lit.discovery.find_tests_for_inputs(lit_config, [path])
    if len(tests) != 1:
        raise LitFailure(f"lit finds {len(tests)} tests in {path}")
    (test,) = tests
    config.stash[_TOOLS].start(test.config.environment)
    test.setResult(lit.worker._execute(test, lit_config))
    return test.result


def _lit_config(config):
    if _LIT not in config.stash:
        config.stash[_TOOLS] = ToolServer()
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
                "start_tool": shlex.join(config.stash[_TOOLS].command()),
            },
        )
    return config.stash[_LIT]
