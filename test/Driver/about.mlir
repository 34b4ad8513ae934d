// RUN: rlx-opt --help | filecheck %s --check-prefix=HELP
// RUN: rlx-opt -h | filecheck %s --check-prefix=HELP
// RUN: rlx-opt --version | filecheck %s --check-prefix=VERSION
// RUN: rlx-opt --list-passes | filecheck %s --check-prefix=PASSES
// RUN: rlx-opt --show-dialects | filecheck %s --check-prefix=DIALECTS

// HELP: USAGE: rlx-opt [options] [input file, - for stdin]
// HELP: --pass-pipeline=TEXT
// HELP: --split-input-file[=MARKER]
// HELP: --convert-rlx-to-linalg {{.*}}Replaces every rlx op by linalg
// HELP: PIPELINES:
// HELP: --rlx-fuse {{.*}}All fusions
// HELP: pack-parameters= {{.*}}rlx-fuse-qkv
// HELP: --canonicalize

// VERSION: rlx {{[0-9]+\.[0-9]+}}
// VERSION-NEXT: host {{(mlir-python-bindings|torch-mlir) [0-9]+}}
// VERSION-NEXT: LLVM {{[0-9]+}}

// PASSES: --convert-rlx-to-linalg
// PASSES: --rlx-fuse
// PASSES: --cse

// DIALECTS: Available Dialects: acc, {{.*}}func, {{.*}}linalg, {{.*}}rlx, {{.*}}xevm
// DIALECTS: # The `rlx` dialect
// DIALECTS: rlx.attention
