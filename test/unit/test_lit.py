"""The pytest items of lit tests come to the verdict of lit itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).resolve().parents[1]

CASES = {
    "passes": ("// RUN: rlx-opt %s | filecheck %s\n// CHECK: module", "PASS"),
    "fails": ("// RUN: rlx-opt %s | filecheck %s\n// CHECK: nothing like it", "FAIL"),
    "first-of-a-pipe": ("// RUN: rlx-opt --no-such | filecheck %s\n// CHECK-NOT: x", "FAIL"),
    "negated": ("// RUN: not rlx-opt --no-such 2>&1 | filecheck %s\n// CHECK: unknown", "PASS"),
    "negated-fails": ("// RUN: not rlx-opt %s", "FAIL"),
    "second-line": ("// RUN: rlx-opt %s\n// RUN: rlx-opt --no-such", "FAIL"),
    "verify": ("// RUN: rlx-opt %s -verify-diagnostics\n// expected-error {{none}}", "FAIL"),
    "xfail": ("// RUN: rlx-opt --no-such\n// XFAIL: *", "XFAIL"),
    "xpass": ("// RUN: rlx-opt %s\n// XFAIL: *", "XPASS"),
    "unsupported": ("// RUN: rlx-opt %s\n// REQUIRES: host-other", "UNSUPPORTED"),
    "no-run-line": ("// nothing", "UNRESOLVED"),
    "temporary": ("// RUN: rlx-opt %s -o %t\n// RUN: filecheck %s < %t\n// CHECK: module", "PASS"),
    "environment": ("// RUN: env RLX_MLIR=none not rlx-opt %s 2>&1 | filecheck %s\n"
                    "// CHECK: rlx-opt: error: RLX_MLIR=none: no MLIR Python bindings", "PASS"),
}  # fmt: skip


@pytest.fixture
def suite(tmp_path):
    """The cases as a suite with the configuration of this one."""
    folder = tmp_path / "suite"
    folder.mkdir()
    config = TEST.parent / "lit.cfg.py"
    (folder / "lit.cfg.py").write_text(
        f"__file__ = {str(config)!r}\n"
        "exec(compile(open(__file__).read(), __file__, 'exec'))\n"
        f"config.test_source_root = {str(folder)!r}\n"
    )
    for name, (text, _) in CASES.items():
        (folder / f"{name}.mlir").write_text(text + "\n")
    return folder


def test_both_agree(suite, run_lit, tmp_path):
    command = [sys.executable, "-c", "from lit.main import main; main()", "-q", "-j2"]
    command += ["-o", "result.json", "-D", f"exec_root={tmp_path / 'out'}", str(suite)]
    environment = {**os.environ, "PYTHONPATH": str(TEST.parent)}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    rows = json.loads((tmp_path / "result.json").read_text())["tests"]
    of_lit = {row["name"].partition(" :: ")[2].removesuffix(".mlir"): row["code"] for row in rows}
    of_pytest = {name: run_lit(suite / f"{name}.mlir").code.name for name in CASES}
    assert of_lit == of_pytest == {name: code for name, (_, code) in CASES.items()}
