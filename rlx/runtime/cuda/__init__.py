"""Compiled programs on NVIDIA GPUs. Needs NumPy and `cuda-bindings`, and nothing of the compiler.

``load(folder)`` takes what ``rlx-compile --target=cuda:sm_90a -o folder`` has written.
"""

from rlx.runtime.cuda.arrays import DeviceArray
from rlx.runtime.cuda.artefact import load, save
from rlx.runtime.cuda.driver import OutOfMemoryError, available, why_not
from rlx.runtime.cuda.executable import CudaExecutable

__all__ = [
    "CudaExecutable",
    "DeviceArray",
    "OutOfMemoryError",
    "available",
    "load",
    "save",
    "why_not",
]
