// RUN: rlx-opt %s --cse -canonicalize --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=ORDER
// RUN: rlx-opt %s -canonicalize --cse --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=SWAPPED
// RUN: rlx-opt %s --canonicalize=top-down=false --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=ONE
// RUN: rlx-opt %s --canonicalize="top-down=false max-iterations=3" --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=TWO
// RUN: rlx-opt %s "--canonicalize={top-down=false max-iterations=3}" --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=TWO
// RUN: rlx-opt %s -llvm-request-c-wrappers -cse --affine-loop-unroll --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=NESTED
// RUN: not rlx-opt %s --cse --pass-pipeline="cse" 2>&1 | filecheck %s --check-prefix=BOTH
// RUN: not rlx-opt %s --pass-pipeline="cse" --pass-pipeline=cse 2>&1 | filecheck %s --check-prefix=TWICE
// RUN: not rlx-opt %s --canonicalise 2>&1 | filecheck %s --check-prefix=TYPO
// RUN: not rlx-opt %s --split-input-files 2>&1 | filecheck %s --check-prefix=FLAG
// RUN: not rlx-opt %s --canonicalize=max-iterations=x 2>&1 | filecheck %s --check-prefix=VALUE
// RUN: not rlx-opt %s --canonicalize=top-dwon=0 2>&1 | filecheck %s --check-prefix=OPTION

// ORDER: Pass Manager with 2 passes:
// ORDER-NEXT: builtin.module(cse,canonicalize)
// ORDER: func.func @f
// SWAPPED: builtin.module(canonicalize,cse)
// ONE: builtin.module(canonicalize{top-down=false})
// TWO: builtin.module(canonicalize{top-down=false max-iterations=3})
// A pass that runs on functions is nested, as by mlir-opt.
// NESTED: builtin.module(func.func(llvm-request-c-wrappers),cse,func.func(affine-loop-unroll))
// NESTED: func.func @f() attributes {llvm.emit_c_interface}
// BOTH: rlx-opt: error: '--pass-pipeline' cannot be combined with passes given as flags, but got '--cse'
// TWICE: rlx-opt: error: argument '--pass-pipeline' may be given only once
// TYPO: rlx-opt: error: unknown command line argument '--canonicalise'; did you mean '--canonicalize'?
// FLAG: rlx-opt: error: unknown command line argument '--split-input-files'; did you mean '--split-input-file'?
// VALUE: error: option 'max-iterations' of 'canonicalize': 'x' value invalid
// OPTION: error: 'canonicalize' has no option 'top-dwon'; did you mean 'top-down'?
func.func @f() { return }
