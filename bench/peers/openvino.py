"""OpenVINO, from programs that are written in PyTorch, and from models of Transformers."""

from typing import Any

import numpy as np

from bench.cases import Case, Prefill
from bench.peers.base import Variant, Variants
from bench.peers.hf import load
from bench.peers.torch_eager import Program, TorchEager, programs, variant

__all__ = ["OpenVino"]


class OpenVino(TorchEager):
    name = "openvino"
    modules = ("torch", "openvino")
    distributions = ("openvino",)

    def variants(self, case: Case, dtype: str) -> Variants:
        if dtype not in ("f32", "bf16"):
            return {}
        if isinstance(case, Prefill):
            # Where it has to imitate bf16, a prompt takes minutes.
            if dtype == "bf16" and "BF16" not in self._capabilities():
                return {}
            return {"OpenVINO transformers": lambda: self._prefill(case, dtype)}
        # Programs are in f32; the precision is an option, under which weights are converted.
        makers = programs(case, "f32")
        return {
            f"OpenVINO {name}": lambda make=make: self._compiled(case, dtype, make())
            for name, make in makers.items()
        }

    def _capabilities(self) -> list[str]:
        """What it has fast code for on this machine, such as "FP32"."""
        import openvino

        return openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def _request(self, model: Any, dtype: str, inputs: list[Any]) -> Any:
        """A converted model, compiled, with its inputs set."""
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": dtype,
            "NUM_STREAMS": 1,
        }
        request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
        for number, tensor in enumerate(inputs):
            array = np.ascontiguousarray(tensor.numpy())
            request.set_input_tensor(number, openvino.Tensor(array))
        return request

    def _prefill(self, case: Prefill, dtype: str) -> Variant:
        """Without a cache, which spares it the writing."""
        import openvino
        import torch

        model = load(case.geometry, "f32")

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, ids: Any) -> Any:
                return self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits

        ids = torch.from_numpy(case.inputs()["ids"][:, : case.prompt])
        program = torch.export.export(Module().eval(), (ids,))
        request = self._request(openvino.convert_model(program), dtype, [ids])

        def result(_: Any) -> np.ndarray:
            return request.get_output_tensor(0).data[:, -1].copy()

        return Variant(request.infer, result)

    def _compiled(self, case: Case, dtype: str, program: Program) -> Variant:
        import openvino
        import torch

        problem, function, inputs = program
        fixed = {} if isinstance(function, torch.nn.Module) else _weights(case, inputs)

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = function if isinstance(function, torch.nn.Module) else None
                for number, tensor in fixed.items():
                    self.register_buffer(f"fixed{number}", tensor)

            def forward(self, *given: Any) -> Any:
                rest = iter(given)
                count = len(given) + len(fixed)
                arguments = [
                    getattr(self, f"fixed{n}") if n in fixed else next(rest) for n in range(count)
                ]
                return function(*arguments)

        free = [tensor for number, tensor in enumerate(inputs) if number not in fixed]
        model = openvino.convert_model(
            Module().eval(), example_input=tuple(free), input=[list(x.shape) for x in free]
        )
        request = self._request(model, dtype, free)
        ready = variant(case, problem, function, [])
        return Variant(
            request.infer,
            lambda _: ready.result(torch.from_numpy(request.get_output_tensor(0).data.copy())),
            problem,
        )


def _weights(case: Case, inputs: list[Any]) -> dict[int, Any]:
    """Which inputs of a program are weights, by number; those of attention are not among them."""
    names = list(case.inputs())
    if len(inputs) != len(names):
        return {}
    return {n: inputs[n] for n, name in enumerate(names) if name in case.parameters()}
