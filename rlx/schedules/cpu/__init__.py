"""How heavy ops become fast on a CPU.

A strategy is a module about one op, with three functions:

* ``refusal(op)`` says why it does not apply, or None;
* ``prepare(op)`` checks sizes and makes the op in the form that the kernel takes;
* ``build(op, kernels, isa)`` emits the call of the kernel, and the kernel itself once per module.

`rlx-cpu-select-kernels` asks the first two before `convert-rlx-to-linalg`, which leaves what was
selected alone; `rlx-cpu-emit-kernels` asks the third right before bufferization. In between the op
is an op on tensors like any other. The plain path through linalg is the answer for every op without
a strategy, and what strategies are tested against.
"""
