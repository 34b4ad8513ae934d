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
