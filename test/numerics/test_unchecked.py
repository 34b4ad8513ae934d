"""After a failed run-time check, what follows stays inside its arrays.

The lowerings promise this to pipelines that report a failed check without leaving the function at
once. Here all checks are taken out, and every op runs on arguments that break them by far. The
cases run in a process of their own, since a wild access would take pytest down with it.
"""

import subprocess
import sys

import numpy as np
from harness import module_text, random

import rlx
from rlx.dialects.concat import ConcatOp
from rlx.dialects.embedding import EmbeddingOp
from rlx.dialects.glu import GluOp
from rlx.dialects.kv_append import KvAppendOp
from rlx.dialects.layer_norm import LayerNormOp
from rlx.dialects.matmul import MatmulOp
from rlx.dialects.narrow import NarrowOp
from rlx.dialects.rms_norm import RmsNormOp
from rlx.host import ir
from rlx.passes.base import walk

FAR = 1 << 22

CASES = {
    "embedding": (EmbeddingOp, [random((4, 3)), np.array([0, FAR * FAR, -FAR * FAR])], {}),
    "embedding without rows": (EmbeddingOp, [random((0, 3)), np.array([0, 1])], {}),
    "kv_append": (
        KvAppendOp,
        [random((3, 4, 3)), random((3, 2, 3)), np.array([FAR * FAR, -FAR * FAR, 3])],
        {},
    ),
    "kv_append, rows": (KvAppendOp, [random((1, 2, 3)), random((1, FAR, 3)), np.array([0])], {}),
    "kv_append, batch": (KvAppendOp, [random((FAR, 2, 1)), random((1, 2, 1)), np.array([0])], {}),
    "glu": (GluOp, [random(FAR), random(1)], {"activation": "relu"}),
    "matmul": (MatmulOp, [random((1, FAR)), random((1, 1))], {}),
    "matmul, weight": (MatmulOp, [random((1, 1)), random((FAR, 1))], {}),
    "narrow": (NarrowOp, [random(2)], {"axis": 0, "start": FAR, "length": FAR}),
    "concat": (ConcatOp, [[random((1, 2)), random((FAR, 2))]], {"axis": 1}),
    "concat, short": (ConcatOp, [[random((FAR, 2)), random((1, 2))]], {"axis": 1}),
    "rms_norm": (RmsNormOp, [random((1, FAR)), random(1)], {"epsilon": 1.0}),
    "rms_norm, group": (RmsNormOp, [random((3, 5)), None], {"epsilon": 1.0, "group": FAR}),
    "layer_norm": (LayerNormOp, [random((1, FAR)), random(1), random(2)], {"epsilon": 1.0}),
}


def run_unchecked(op, operands, attrs):
    text, arrays = module_text(op, operands, dynamic=True, **attrs)
    with ir.Context() as context, ir.Location.unknown():
        rlx.load_dialects(context)
        module = ir.Module.parse(text)
        rlx.run_pipeline(module, "convert-rlx-to-linalg")
        checks = list(walk(module.operation, "cf.assert"))
        assert checks
        for check in checks:
            check.operation.erase()
        rlx.compile(str(module), cache=False)(*arrays)


def test_stays_in_bounds():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit {done.returncode} in {done.stdout}{done.stderr}"
    assert done.stdout.split("\n")[:-1] == list(CASES)


if __name__ == "__main__":
    for name, case in CASES.items():
        print(name, flush=True)
        run_unchecked(*case)
