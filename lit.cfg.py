"""Configuration for `lit test`: every .mlir file below test/, run against the checkout."""

import os
import shutil
import sys
import tempfile

import lit.formats

# lit executes this file with `config` and `lit_config` defined.
root = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [root, os.path.join(root, "test")]

from tool_server import tool_environment  # noqa: E402

from rlx import host  # noqa: E402

config.name = "rlx"  # noqa: F821
config.test_format = lit.formats.ShTest()  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.excludes = ["Inputs", "Output", "build", "examples"]  # noqa: F821
config.test_source_root = root  # noqa: F821
config.test_exec_root = lit_config.params.get(  # noqa: F821
    "exec_root", os.path.join(tempfile.gettempdir(), f"rlx-lit-{os.getuid()}-{host.PREFIX}")
)

config.available_features.add(f"host-{host.PREFIX}")  # noqa: F821
for tool in ("mlir-opt-22",):
    if shutil.which(tool):
        config.available_features.add(tool)  # noqa: F821

config.environment.update(tool_environment())  # noqa: F821

# Tools by bare name mean the running environment, whatever PATH says. `not` is lit's own.
python = f'"{sys.executable}"'
config.substitutions.append(("%python", python))  # noqa: F821
start = lit_config.params.get("start_tool", f"{python} -m")  # noqa: F821
for name, module in {
    "rlx-opt": "rlx.tools.rlx_opt",
    "rlx-run": "rlx.tools.rlx_run",
    "filecheck": "filecheck",
}.items():
    config.substitutions.append(  # noqa: F821
        (rf"(?<![\w./^-]){name}(?![\w./-])", f"{start} {module}")
    )
