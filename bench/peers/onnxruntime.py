"""ONNX Runtime: its fused attention, and a product with a constant weight."""

from typing import Any

import numpy as np

from bench.cases import Attention, Case, Matmul
from bench.peers.base import Peer, Variant, Variants

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Peer):
    """Its CPU kernels have no bf16."""

    name = "onnxruntime"
    modules = ("onnxruntime", "onnx")
    distributions = ("onnxruntime",)

    def variants(self, case: Case, dtype: str) -> Variants:
        if dtype != "f32":
            return {}
        if isinstance(case, Attention):
            found: Variants = {"ORT GroupQueryAttention": lambda: self._attention(case, False)}
            # It would turn the newest key of a cache as well.
            if case.queries == case.keys:
                name = "ORT GroupQueryAttention with rope"
                found[name] = lambda: self._attention(case, True)
            return found
        if isinstance(case, Matmul):
            return {"ORT MatMul": lambda: self._matmul(case)}
        return {}

    def _session(self, nodes: list, inputs: list, outputs: list, weights: dict) -> Any:
        import onnxruntime
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        graph = helper.make_graph(nodes, "case", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )

    def _attention(self, case: Attention, with_rope: bool) -> Variant:
        from onnx import TensorProto, helper

        arrays = case.inputs()
        b, past, d = case.batch, case.keys - case.queries, case.dim

        def heads(x: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(x.reshape(b, -1, case.kv_heads, d).transpose(0, 2, 1, 3))

        feeds = {
            "query": arrays["q"],
            "key": np.ascontiguousarray(arrays["k"][:, past:]),
            "value": np.ascontiguousarray(arrays["v"][:, past:]),
            "past_key": heads(arrays["k"][:, :past]),
            "past_value": heads(arrays["v"][:, :past]),
            "seqlens_k": np.full((b,), case.keys - 1, np.int32),
            "total": np.array([case.keys], np.int32),
        }
        attributes: dict[str, Any] = {
            "num_heads": case.heads,
            "kv_num_heads": case.kv_heads,
            "local_window_size": case.window or -1,
            "softcap": case.softcap,
        }
        weights = {}
        if with_rope:
            weights = {"cos": arrays["cos"], "sin": arrays["sin"]}
            attributes |= {"do_rotary": 1}
        names = ["query", "key", "value", "past_key", "past_value", "seqlens_k", "total", *weights]
        node = helper.make_node(
            "GroupQueryAttention",
            names,
            ["out", "present_key", "present_value"],
            domain="com.microsoft",
            **attributes,
        )
        kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
        inputs = [
            helper.make_tensor_value_info(name, kinds[array.dtype], array.shape)
            for name, array in feeds.items()
        ]
        present = [b, case.kv_heads, case.keys, d]
        shapes = {"out": list(arrays["q"].shape), "present_key": present, "present_value": present}
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]
        session = self._session([node], inputs, outputs, weights)

        def result(found: list) -> np.ndarray:
            return found[0].reshape(case.rows(), -1)

        problem = "rope" if with_rope else "bare"
        return Variant(lambda: session.run(["out"], feeds), result, problem)

    def _matmul(self, case: Matmul) -> Variant:
        from onnx import TensorProto, helper

        x, w = case.inputs().values()
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [case.m, case.n])]
        weight = {"w": np.ascontiguousarray(w.T)}
        session = self._session([node], inputs, outputs, weight)
        return Variant(lambda: session.run(["y"], {"x": x}), lambda found: found[0])
