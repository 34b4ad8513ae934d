// RUN: rlx-opt --emit-irdl -o %t.irdl
// RUN: filecheck %s < %t.irdl

// CHECK: irdl.dialect @rlx
// CHECK: irdl.operation @narrow
