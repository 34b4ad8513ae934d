"""The tools that are compared, each optional. They are imported in processes of their own."""

PEERS = {
    "rlx": "bench.peers.ours:Rlx",
    "torch": "bench.peers.torch_eager:TorchEager",
    "torch.compile": "bench.peers.torch_compile:TorchCompile",
    "transformers": "bench.peers.hf:Transformers",
    "openvino": "bench.peers.openvino:OpenVino",
    "onnxruntime": "bench.peers.onnxruntime:OnnxRuntime",
    "jax": "bench.peers.jax:Jax",
    "iree": "bench.peers.iree:Iree",
    "llama.cpp": "bench.peers.llama_cpp:LlamaCpp",
}
"""What the command line calls a tool, and where it is."""


def _torch(name: str, processor: str) -> dict[str, str]:
    return {
        "ATEN_CPU_CAPABILITY": name,
        "MKL_ENABLE_INSTRUCTIONS": name.upper(),
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE" if name == "avx512" else name.upper(),
        "TORCHINDUCTOR_CPP_MARCH": processor,
    }


def _held(name: str, processor: str) -> dict[str, dict[str, str]]:
    torch = _torch(name, processor)
    return {
        "rlx": {"RLX_BENCH_TARGET": f"cpu:{name}"},
        "torch": torch,
        "torch.compile": torch,
        "transformers": torch,
        "jax": {"XLA_FLAGS": f"--xla_cpu_max_isa={name.upper()}"},
    }


HELD = {"avx512": _held("avx512", "x86-64-v4"), "avx2": _held("avx2", "x86-64-v3")}
"""What holds tools to an instruction set: variables of their environment, by set and tool."""
