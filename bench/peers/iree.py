"""IREE, from linalg: products. Its attention op has no fast code for CPUs."""

from typing import Any

import numpy as np

from bench.cases import Case, Matmul
from bench.cases.base import DTYPES
from bench.peers.base import Peer, Variant, Variants

__all__ = ["Iree"]


class Iree(Peer):
    name = "iree"
    modules = ("iree.compiler", "iree.runtime")
    distributions = ("iree-base-compiler",)

    def variants(self, case: Case, dtype: str) -> Variants:
        if dtype not in ("f32", "bf16"):
            return {}
        if isinstance(case, Matmul):
            return {"IREE matmul": lambda: self._matmul(case, dtype)}
        return {}

    def _variant(self, case: Case, text: str, arrays: list[np.ndarray]) -> Variant:
        import iree.compiler
        import iree.runtime

        binary = iree.compiler.compile_str(
            text,
            target_backends=["llvm-cpu"],
            extra_args=["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"],
        )
        driver = "local-sync" if self.threads == 1 else "local-task"
        config = iree.runtime.Config(driver)
        context = iree.runtime.SystemContext(config=config)
        context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, binary))
        function = context.modules.module.main
        inputs = [iree.runtime.asdevicearray(config.device, array) for array in arrays]

        def result(found: Any) -> np.ndarray:
            array = np.asarray(found.to_host()).astype(np.float32)
            return array.reshape(case.rows(), -1)

        return Variant(lambda: function(*inputs), result)

    def _matmul(self, case: Matmul, dtype: str) -> Variant:
        x, w = f"tensor<{case.m}x{case.k}x{dtype}>", f"tensor<{case.n}x{case.k}x{dtype}>"
        y, sums = f"tensor<{case.m}x{case.n}x{dtype}>", f"tensor<{case.m}x{case.n}xf32>"
        rounded = "" if dtype == "f32" else f"%r = arith.truncf %s : {sums} to {y}\n"
        text = f"""func.func @main(%x: {x}, %w: {w}) -> {y} {{
          %zero = arith.constant 0.0 : f32
          %e = tensor.empty() : {sums}
          %i = linalg.fill ins(%zero : f32) outs(%e : {sums}) -> {sums}
          %s = linalg.matmul indexing_maps = [affine_map<(m, n, k) -> (m, k)>,
            affine_map<(m, n, k) -> (n, k)>, affine_map<(m, n, k) -> (m, n)>]
            ins(%x, %w : {x}, {w}) outs(%i : {sums}) -> {sums}
          {rounded}return {"%r" if rounded else "%s"} : {y}
        }}"""
        arrays = [array.astype(DTYPES[dtype]) for array in case.inputs().values()]
        return self._variant(case, text, arrays)
