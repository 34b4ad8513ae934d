"""How ops become kernels on a GPU.

A strategy is a module about one op, with three functions:

* ``refusal(op, arch)`` says why it does not apply to that op on that architecture, or None;
* ``prepare(op)`` checks sizes and makes the op in the form that the kernel takes;
* ``build(op, kernels, arch)`` emits buffers, the launch, and the kernel itself once per module.

`rlx-cuda-select-kernels` asks the first two before `convert-rlx-to-linalg` and takes the first
strategy of an op that applies; `rlx-cuda-emit-kernels` asks the third right before bufferization.
Everything without a strategy goes through linalg, and each linalg op then becomes a plain kernel
(`rlx-cuda-outline`).

A kernel is a `gpu.func` of the module's `gpu.module @kernels`. It takes buffers as memrefs of any
sizes, strides and offset, numbers as index, i32, i64 or floats, and TMA descriptors as
`!nvgpu.tensormap.descriptor` made by `nvgpu.tma.create.descriptor` beside the launch. Sizes of the
grid, of dynamic shared memory and of buffers are index arithmetic on sizes of arguments: there is
no host code at run time, the target writes them into the manifest as expressions.
"""
