// RUN: rlx-opt %s -split-input-file --rlx-quantize-weights | filecheck %s
// RUN: rlx-opt %s -split-input-file '--rlx-quantize-weights=group=4' | filecheck %s --check-prefix=GROUP
// RUN: rlx-opt %s -split-input-file --rlx-quantize-weights --rlx-remarks -o /dev/null 2>&1 | filecheck %s --check-prefix=REMARK
// RUN: not rlx-opt %s -split-input-file '--rlx-quantize-weights=bits=4' 2>&1 | filecheck %s --check-prefix=BITS
// RUN: not rlx-opt %s -split-input-file '--rlx-quantize-weights=group=-1' 2>&1 | filecheck %s --check-prefix=NEGATIVE

// BITS: error: expected bits of 8, but got 4
// NEGATIVE: error: expected group of at least 0, but got -1

// Both ways around, with the scales at the end.
// CHECK-LABEL: func.func @both_ways(
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x8xf32>
// CHECK-SAME: %[[A:[^:]*]]: tensor<8x8xi8> {rlx.name = "a.int8", rlx.param, rlx.parts = ["a"], rlx.parts_axis = 0 : i64, rlx.quantize = "int8"}
// CHECK-SAME: %[[N:[^:]*]]: tensor<8xf32> {rlx.name = "n", rlx.param}
// CHECK-SAME: %[[B:[^:]*]]: tensor<8x4xi8> {rlx.name = "b.int8", rlx.param, rlx.parts = ["b"], rlx.parts_axis = 1 : i64, rlx.quantize = "int8"}
// CHECK-SAME: %[[AS:[^:]*]]: tensor<8xf32> {rlx.name = "a.int8-scales", rlx.param, rlx.parts = ["a"], rlx.parts_axis = 0 : i64, rlx.quantize = "int8-scales"}
// CHECK-SAME: %[[BS:[^:]*]]: tensor<4xf32> {rlx.name = "b.int8-scales", rlx.param, rlx.parts = ["b"], rlx.parts_axis = 1 : i64, rlx.quantize = "int8-scales"}
// CHECK: %[[Y:.*]] = "rlx.dequant_matmul"(%[[X]], %[[A]], %[[AS]]) {transpose_weight = true} : (tensor<2x8xf32>, tensor<8x8xi8>, tensor<8xf32>) -> tensor<2x8xf32>
// CHECK: "rlx.dequant_matmul"(%{{.*}}, %[[B]], %[[BS]]) : (tensor<2x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<2x4xf32>
// GROUP-LABEL: func.func @both_ways(
// GROUP-SAME: tensor<8x4xi8> {rlx.name = "b.int8", rlx.param, rlx.parts = ["b"], rlx.parts_axis = 1 : i64, rlx.quantize = "int8", rlx.quantize_group = 4 : i64}
// GROUP-SAME: tensor<8x2xf32> {rlx.name = "a.int8-scales"
// GROUP-SAME: tensor<4x2xf32> {rlx.name = "b.int8-scales", rlx.param, rlx.parts = ["b"], rlx.parts_axis = 1 : i64, rlx.quantize = "int8-scales", rlx.quantize_group = 4 : i64}
// GROUP: "rlx.dequant_matmul"{{.*}} {group = 4 : i64, transpose_weight = true}
func.func @both_ways(%x: tensor<2x8xf32> {rlx.name = "x"}, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}, %n: tensor<8xf32> {rlx.param, rlx.name = "n"}, %b: tensor<8x4xf32> {rlx.param, rlx.name = "b"}) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %a) {transpose_weight = true} : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %1 = "rlx.rms_norm"(%0, %n) {epsilon = 1.0e-6 : f64} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  %2 = "rlx.matmul"(%1, %b) : (tensor<2x8xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return %2 : tensor<2x4xf32>
}

// -----

// A packed parameter keeps its parts. Used twice, it is still one. Scales of bf16 weights are f32.
// CHECK-LABEL: func.func @packed(
// CHECK-SAME: tensor<6x8xi8> {rlx.name = "q+k.int8", rlx.param, rlx.parts = ["q", "k"], rlx.parts_axis = 0 : i64, rlx.quantize = "int8"}, %{{[^:]*}}: tensor<6xf32> {rlx.name = "q+k.int8-scales", rlx.param, rlx.parts = ["q", "k"],
// CHECK: "rlx.dequant_matmul"
// CHECK: "rlx.dequant_matmul"{{.*}} (tensor<?x8xbf16>, tensor<6x8xi8>, tensor<6xf32>) -> tensor<?x6xbf16>
func.func @packed(%x: tensor<?x8xbf16>, %y: tensor<?x8xbf16>, %w: tensor<6x8xbf16> {rlx.param, rlx.name = "q+k", rlx.parts = ["q", "k"], rlx.parts_axis = 0 : i64}) -> (tensor<?x6xbf16>, tensor<?x6xbf16>) {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<?x8xbf16>, tensor<6x8xbf16>) -> tensor<?x6xbf16>
  %1 = "rlx.matmul"(%y, %w) {transpose_weight = true} : (tensor<?x8xbf16>, tensor<6x8xbf16>) -> tensor<?x6xbf16>
  return %0, %1 : tensor<?x6xbf16>, tensor<?x6xbf16>
}

// -----

// Through calls: a layer that is called with one weight or another, and passes one on.
// CHECK-LABEL: func.func @layers(
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x8xf32>
// CHECK-SAME: %[[A:[^:]*]]: tensor<8x8xi8>
// CHECK-SAME: %[[B:[^:]*]]: tensor<8x8xi8>
// CHECK-SAME: %[[AS:[^:]*]]: tensor<8xf32> {rlx.name = "a.int8-scales"
// CHECK-SAME: %[[BS:[^:]*]]: tensor<8xf32> {rlx.name = "b.int8-scales"
// CHECK: %[[Y:.*]] = call @layer(%[[A]], %[[X]], %[[AS]]) : (tensor<8x8xi8>, tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
// CHECK: call @layer(%[[B]], %[[Y]], %[[BS]])
// CHECK-LABEL: func.func private @layer(
// CHECK-SAME: %[[W:[^:]*]]: tensor<8x8xi8>, %[[X:[^:]*]]: tensor<2x8xf32>, %[[S:[^:]*]]: tensor<8xf32>) -> tensor<2x8xf32>
// CHECK: call @inner(%[[X]], %[[W]], %[[S]])
// CHECK-LABEL: func.func private @inner(
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x8xf32>, %[[W:[^:]*]]: tensor<8x8xi8>, %[[S:[^:]*]]: tensor<8xf32>)
// CHECK: "rlx.dequant_matmul"(%[[X]], %[[W]], %[[S]])
func.func @layers(%x: tensor<2x8xf32>, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}, %b: tensor<8x8xf32> {rlx.param, rlx.name = "b"}) -> tensor<2x8xf32> {
  %0 = call @layer(%a, %x) : (tensor<8x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  %1 = call @layer(%b, %0) : (tensor<8x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}
func.func private @layer(%w: tensor<8x8xf32>, %x: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = call @inner(%x, %w) : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
func.func private @inner(%x: tensor<2x8xf32>, %w: tensor<8x8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// -----

// A head that is tied to the embedding table gets integers, and the table stays.
// CHECK-LABEL: func.func @tied(
// CHECK-SAME: %[[IDS:[^:]*]]: tensor<?xi64>, %[[T:[^:]*]]: tensor<9x8xf32> {rlx.name = "w", rlx.param},
// CHECK-SAME: %[[W:[^:]*]]: tensor<9x8xi8> {rlx.name = "w.int8", rlx.param, rlx.parts = ["w"], rlx.parts_axis = 0 : i64, rlx.quantize = "int8"},
// CHECK-SAME: %[[S:[^:]*]]: tensor<9xf32> {rlx.name = "w.int8-scales"
// CHECK: %[[X:.*]] = "rlx.embedding"(%[[T]], %[[IDS]])
// CHECK: "rlx.dequant_matmul"(%[[X]], %[[W]], %[[S]]) {transpose_weight = true}
func.func @tied(%ids: tensor<?xi64>, %w: tensor<9x8xf32> {rlx.param, rlx.name = "w"}) -> tensor<?x9xf32> {
  %0 = "rlx.embedding"(%w, %ids) : (tensor<9x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %1 = "rlx.matmul"(%0, %w) {transpose_weight = true} : (tensor<?x8xf32>, tensor<9x8xf32>) -> tensor<?x9xf32>
  return %1 : tensor<?x9xf32>
}

// -----

// What follows stays. A table that something else than products and look-ups uses:
// CHECK-LABEL: func.func @returned_table(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: remark: {{.*}}weight stays as it is: '{{.*}}' uses it, too
func.func @returned_table(%ids: tensor<?xi64>, %w: tensor<9x8xf32> {rlx.param, rlx.name = "w"}) -> (tensor<?x9xf32>, tensor<9x8xf32>) {
  %0 = "rlx.embedding"(%w, %ids) : (tensor<9x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %1 = "rlx.matmul"(%0, %w) {transpose_weight = true} : (tensor<?x8xf32>, tensor<9x8xf32>) -> tensor<?x9xf32>
  return %1, %w : tensor<?x9xf32>, tensor<9x8xf32>
}

// -----

// A table that another function looks up in:
// CHECK-LABEL: func.func @table_elsewhere(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: remark: {{.*}}weight stays as it is: 'rlx.embedding' uses it, too
func.func @table_elsewhere(%ids: tensor<?xi64>, %w: tensor<9x8xf32> {rlx.param, rlx.name = "w"}) -> tensor<?x9xf32> {
  %0 = call @look_up(%ids, %w) : (tensor<?xi64>, tensor<9x8xf32>) -> tensor<?x8xf32>
  %1 = "rlx.matmul"(%0, %w) {transpose_weight = true} : (tensor<?x8xf32>, tensor<9x8xf32>) -> tensor<?x9xf32>
  return %1 : tensor<?x9xf32>
}
func.func private @look_up(%ids: tensor<?xi64>, %w: tensor<9x8xf32>) -> tensor<?x8xf32> {
  %0 = "rlx.embedding"(%w, %ids) : (tensor<9x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: func.func @both_transposed_and_not(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: it is used both as it is and transposed
func.func @both_transposed_and_not(%x: tensor<2x8xf32>, %w: tensor<8x8xf32> {rlx.param, rlx.name = "w"}) -> tensor<2x8xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  %1 = "rlx.matmul"(%0, %w) : (tensor<2x8xf32>, tensor<8x8xf32>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}

// -----

// CHECK-LABEL: func.func @dynamic(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: its shape is dynamic, tensor<?x8xf32>
func.func @dynamic(%x: tensor<2x8xf32>, %w: tensor<?x8xf32> {rlx.param, rlx.name = "w"}) -> tensor<2x?xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x8xf32>, tensor<?x8xf32>) -> tensor<2x?xf32>
  return %0 : tensor<2x?xf32>
}

// -----

// CHECK-LABEL: func.func @without_name(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: it has no rlx.name
func.func @without_name(%x: tensor<2x8xf32>, %w: tensor<4x8xf32> {rlx.param}) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// CHECK-LABEL: func.func @name_is_no_text(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: it has no rlx.name
func.func @name_is_no_text(%x: tensor<2x8xf32>, %w: tensor<4x8xf32> {rlx.param, rlx.name = 3}) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// CHECK-LABEL: func.func @packed_along_the_other_axis(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: it is packed along its inner axis
func.func @packed_along_the_other_axis(%x: tensor<2x8xf32>, %w: tensor<4x8xf32> {rlx.param, rlx.name = "a+b", rlx.parts = ["a", "b"], rlx.parts_axis = 1 : i64}) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x8xf32>, tensor<4x8xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// Not a multiple of the group; whole channels are fine.
// CHECK-LABEL: func.func @group_does_not_fit(
// CHECK: rlx.dequant_matmul
// GROUP-LABEL: func.func @group_does_not_fit(
// GROUP-NOT: rlx.dequant_matmul
// GROUP: "rlx.matmul"
func.func @group_does_not_fit(%x: tensor<2x6xf32>, %w: tensor<4x6xf32> {rlx.param, rlx.name = "w"}) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<2x6xf32>, tensor<4x6xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// Not parameters: no remark either.
// CHECK-LABEL: func.func @activations(
// CHECK-NOT: rlx.dequant_matmul
// REMARK-NOT: it is not a parameter
func.func @activations(%x: tensor<2x8xf32>, %y: tensor<8x4xf32>) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %y) : (tensor<2x8xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// -----

// A layer that is called with a parameter and with something computed.
// CHECK-LABEL: func.func @sometimes_computed(
// CHECK-NOT: i8
// CHECK: func.func private @product(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: it is computed
func.func @sometimes_computed(%x: tensor<8x8xf32>, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}) -> tensor<8x8xf32> {
  %0 = call @product(%x, %a) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %1 = call @product(%x, %0) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %1 : tensor<8x8xf32>
}
func.func private @product(%x: tensor<8x8xf32>, %w: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %0 : tensor<8x8xf32>
}

// -----

// Also returned, also the input of the product, and public but called.
// CHECK-LABEL: func.func @other_uses(
// CHECK-NOT: rlx.dequant_matmul
// REMARK: weight stays as it is: 'func.return' uses it, too
// REMARK: weight stays as it is: 'rlx.matmul' uses it, too
func.func @other_uses(%x: tensor<8x8xf32>, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}, %b: tensor<8x8xf32> {rlx.param, rlx.name = "b"}) -> (tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) {
  %0 = "rlx.matmul"(%x, %a) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %1 = "rlx.matmul"(%b, %b) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %0, %1, %a : tensor<8x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>
}

// -----

// CHECK-LABEL: func.func @called(
// CHECK-NOT: rlx.dequant_matmul
// CHECK: func.func @caller
// REMARK: weight stays as it is: the module refers to @called
func.func @called(%x: tensor<8x8xf32>, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}) -> tensor<8x8xf32> {
  %0 = "rlx.matmul"(%x, %a) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %0 : tensor<8x8xf32>
}
func.func @caller(%x: tensor<8x8xf32>, %a: tensor<8x8xf32> {rlx.param, rlx.name = "a"}) -> tensor<8x8xf32> {
  %0 = call @called(%x, %a) : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %0 : tensor<8x8xf32>
}
