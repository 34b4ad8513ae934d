"""How weights lie in memory, so that kernels read them from front to back.

A weight with N columns and inner dimension K, whether [N, K] or [K, N], becomes **panels** of
`PANEL` = 16 columns each: `[ceil(N / 16), K, 16]`, in the storage type of the weight. Zeros fill
the last panel. So element (k, n) is at `[n / 16, k, n mod 16]`; a panel is one stream of K rows of
16 elements, for many rows as well as for few, and a kernel may work on as many panels at a time as
suits it.

A layout with **pairs** has two steps of the inner dimension beside each other, as dot products of
16-bit elements want them: `[ceil(N / 16), ceil(K / 2), 16, 2]`. Element (k, n) is at
`[n / 16, k / 2, n mod 16, k mod 2]`; zeros fill the last pair.

`rlx-cpu-pack-weights` changes a parameter of the module to its layout and puts a `linalg.unpack`
between it and the marked ops, which stay as they are. The kernel of a product asks :func:`packed`
for what lies below its weight and reads that; nothing is ever unpacked at run time. The run time
arranges the parameter once when it loads the model, see `rlx.runtime.tiles`.
"""

from dataclasses import dataclass

from rlx.dialects import emit
from rlx.host import ir, linalg

__all__ = ["PANEL", "Layout", "packed"]

PANEL = 16


@dataclass(frozen=True)
class Layout:
    """Tiles that a weight is cut into.

    Attributes:
        columns: columns of a panel.
        depth: steps of the inner dimension that lie beside each other: 1, or 2 for pairs.
    """

    columns: int = PANEL
    depth: int = 1

    def _tiles(self, transposed: bool) -> dict[str, list[int]]:
        """In the terms of `linalg.pack`, for a weight [N, K] if ``transposed``, else [K, N]."""
        n, k = (0, 1) if transposed else (1, 0)
        pairs = self.depth > 1
        return {
            "inner_dims_pos": [n, k] if pairs else [n],
            "inner_tiles": [self.columns, self.depth] if pairs else [self.columns],
            "outer_dims_perm": [n, k],
        }

    def attribute(self, type: ir.RankedTensorType, transposed: bool) -> ir.DictAttr:
        """What tells the run time to lay out a parameter of this type."""
        fields = {"shape": list(type.shape), **self._tiles(transposed)}
        return ir.DictAttr.get({k: ir.DenseI64ArrayAttr.get(v) for k, v in fields.items()})

    def type(self, type: ir.RankedTensorType, transposed: bool) -> ir.RankedTensorType:
        """The type that a weight of this type has when it is laid out."""
        n, k = type.shape if transposed else reversed(type.shape)
        inner = [self.columns, self.depth] if self.depth > 1 else [self.columns]
        outer = [-(-n // self.columns), -(-k // self.depth)]
        return ir.RankedTensorType.get([*outer, *inner], type.element_type)

    def unpack(self, value: ir.Value, type: ir.RankedTensorType, transposed: bool) -> ir.Value:
        """The weight that ``value`` is the layout of."""
        tiles = self._tiles(transposed)
        into = emit.empty(list(type.shape), type.element_type)
        return linalg.UnPackOp(
            type,
            value,
            into,
            tiles["inner_dims_pos"],
            [],
            tiles["inner_tiles"],
            outer_dims_perm=tiles["outer_dims_perm"],
        ).result


def packed(weight: ir.Value) -> tuple[ir.Value, Layout] | None:
    """What a weight is unpacked from, and how that is laid out; None if it lies as it is."""
    if isinstance(weight.owner, ir.Block) or weight.owner.name != "linalg.unpack":
        return None
    op = weight.owner.operation
    columns, *depth = list(ir.DenseI64ArrayAttr(op.attributes["static_inner_tiles"]))
    return op.operands[0], Layout(columns, *depth)
