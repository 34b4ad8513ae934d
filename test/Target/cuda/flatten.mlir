// RUN: rlx-opt %s --pass-pipeline='builtin.module(gpu.module(rlx-cuda-flatten-arguments))' | filecheck %s

// A pointer, the sizes that are not static, the strides that are not static. What begins at a static
// offset has an aligned pointer; a dynamic offset is in the pointer already.
// CHECK: gpu.func @f(
// CHECK-SAME: %[[P:[a-z0-9]+]]: memref<1xf32> {llvm.align = 16 : i64}, %[[N:[a-z0-9]+]]: index,
// CHECK-SAME: %[[Q:[a-z0-9]+]]: memref<1xbf16>, %[[R:[a-z0-9]+]]: index, %[[S:[a-z0-9]+]]: index,
// CHECK-SAME: %[[T:[a-z0-9]+]]: memref<1xf16> {llvm.align = 16 : i64}, %{{[a-z0-9]+}}: i32)
// CHECK-DAG: memref.reinterpret_cast %[[P]] to offset: [0], sizes: [%[[N]], 8], strides: [8, 1]
// CHECK-DAG: memref.reinterpret_cast %[[Q]] to offset: [%{{.*}}], sizes: [4, %[[R]]], strides: [%[[S]], 1]
// CHECK-DAG: memref.reinterpret_cast %[[T]] to offset: [6], sizes: [2, 2], strides: [4, 1]
module attributes {gpu.container_module} {
  gpu.module @kernels {
    gpu.func @f(%a: memref<?x8xf32>, %b: memref<4x?xbf16, strided<[?, 1], offset: ?>>,
                %c: memref<2x2xf16, strided<[4, 1], offset: 6>>, %d: i32) kernel {
      %c0 = arith.constant 0 : index
      %x = memref.load %a[%c0, %c0] : memref<?x8xf32>
      memref.store %x, %a[%c0, %c0] : memref<?x8xf32>
      %y = memref.load %b[%c0, %c0] : memref<4x?xbf16, strided<[?, 1], offset: ?>>
      memref.store %y, %b[%c0, %c0] : memref<4x?xbf16, strided<[?, 1], offset: ?>>
      %z = memref.load %c[%c0, %c0] : memref<2x2xf16, strided<[4, 1], offset: 6>>
      memref.store %z, %c[%c0, %c0] : memref<2x2xf16, strided<[4, 1], offset: 6>>
      gpu.return
    }
  }
}
