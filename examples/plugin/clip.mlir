func.func @twice(%x: tensor<2x?xf32>) -> tensor<2x?xf32> {
  %a = "rlx.clip"(%x) {low = -1.0 : f64, high = 1.0 : f64} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  %b = "rlx.clip"(%a) {low = 0.0 : f64, high = 6.0 : f64} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  return %b : tensor<2x?xf32>
}
