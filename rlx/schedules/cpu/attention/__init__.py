"""`rlx.attention`: keys and values in tiles, with an online softmax.

The heads of a group share their keys and values: the rows of a block are pairs of a query and a
head of the group. A tile of keys is transposed and a tile of values copied once for all rows. A
block meets one tile after the other, slice by slice. For each slice and tile

* scores: a register-blocked product of the scaled queries with the tile of keys;
* what causality, windows, lengths and the mask hide becomes -inf, in tiles at an edge only;
* weights are 2^(score - largest so far), and what was summed up before is scaled accordingly;
* sums: a register-blocked product of the weights with the tile of values.

What no row of a few sees is not computed. A `rlx.rope` that feeds nothing else is applied where
queries and keys are read. Everything is computed in f32.

A value that is NaN or infinite must not show in rows whose weight for it is zero. A block whose
sums are not finite is computed a second time, with the largest scores known from the start and
without the products that have a weight of zero.

Files: `select` and `rope` say what gets a kernel; `problem` holds the sizes, `pack` the copies,
`products` and `softmax` the steps for a tile, `blocks` and `many` the loops around them, `ahead`
what memory is asked for early. For a few rows, keys and values are not copied: `stream` has the
products, `few` the loops. `kernel` chooses. `lanes` and `attempts` are what several of them use.
"""

from rlx.schedules.cpu.attention.kernel import build
from rlx.schedules.cpu.attention.problem import Parameters, parameters
from rlx.schedules.cpu.attention.select import prepare, refusal

__all__ = ["Parameters", "build", "parameters", "prepare", "refusal"]
