"""NumPy dtypes and MLIR element types: one table, both ways.

The table itself needs no MLIR, so that the runtime can use it; the bindings are imported when a
type is asked for.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rlx.host import ir

try:
    import ml_dtypes
except ImportError:  # where compiled code only runs; bf16 is then unknown to NumPy
    _OTHERS = {}
else:
    _OTHERS = {"bf16": np.dtype(ml_dtypes.bfloat16)}

__all__ = ["NAMES", "from_mlir", "to_mlir"]

NAMES: dict[str, np.dtype] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    **_OTHERS,
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "i1": np.dtype(np.bool_),
}
"""MLIR's spelling of every element type that NumPy's arrays may have."""


def to_mlir(dtype: np.dtype) -> "ir.Type":
    """The element type for ``dtype``, in the current context.

    Raises:
        TypeError: there is none.
    """
    from rlx.host import ir

    for name, known in NAMES.items():
        if known == dtype:
            return ir.Type.parse(name)
    raise TypeError(f"no MLIR element type for dtype {dtype}; supported: {', '.join(NAMES)}")


def from_mlir(element_type: "ir.Type") -> np.dtype:
    """The dtype for an element type.

    Raises:
        TypeError: NumPy has none.
    """
    try:
        return NAMES[str(element_type)]
    except KeyError:
        raise TypeError(
            f"no NumPy dtype for element type {element_type}; supported: {', '.join(NAMES)}"
        ) from None
