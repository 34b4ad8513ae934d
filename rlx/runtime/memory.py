"""Where arrays lie in memory, and arrays over memory that compiled code has allocated."""

import ctypes
from typing import Any

import numpy as np

from rlx.runtime.loader import free

__all__ = ["Allocation", "address_of"]

# NumPy's public structure `PyArrayInterface`, in words; this one keeps the interpreter lock.
_structure = ctypes.PYFUNCTYPE(ctypes.POINTER(ctypes.c_int64), ctypes.py_object, ctypes.c_void_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_DATA = 5


def address_of(array: np.ndarray) -> int:
    """The address of the first element, in half the time that ``array.ctypes`` takes."""
    capsule = array.__array_struct__
    return _structure(capsule, None)[_DATA]


class Allocation(ctypes.c_char * 2**62):  # type: ignore[misc]
    """Memory from an address on, of which compiled code has allocated some; to be owned.

    Made with ``Allocation.from_address``; freed with the last array that looks at it.
    """

    def __del__(self, free: Any = free, address: Any = ctypes.addressof) -> None:
        free(address(self))
