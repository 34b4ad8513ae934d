// RUN: rlx-opt %s -split-input-file -verify-diagnostics -allow-unregistered-dialect
// RUN: rlx-opt %s -split-input-file -verify-diagnostics=all -allow-unregistered-dialect

// On the line itself.
func.func @same() {
  nothing // expected-error {{custom op 'nothing' is unknown}}
}

// -----

func.func @next() {
  // expected-error@+1 {{custom op 'nothing' is unknown}}
  nothing
}

// -----

func.func @far() {
  // expected-error @+3 {{custom op}}


  nothing
}

// -----

func.func @before() {
  nothing
  // expected-error @-1 {{'nothing'}}
}

// -----

// `@below` and `@above` skip lines that hold expectations only.
func.func @below() {
  // expected-error @below {{custom op 'nothing' is unknown (tried 'func.nothing' as well)}}
  // expected-note-re @unknown 0 {{never}}
  nothing
}

// -----

func.func @above() {
  nothing
  // expected-note @unknown * {{never}}
  // expected-error @above {{custom op}}
}

// -----

func.func @regex() {
  // expected-error-re @+1 {{op '{{n[a-z]+g}}' is unknown ({{.*}})}}
  nothing
}

// -----

// Two on one line, and a count.
func.func @two(%x: tensor<4xf32>) {
  // expected-error @+1 1 {{requires attribute}} expected-note @+1 0 {{see current}}
  %0 = "rlx.narrow"(%x) : (tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

// Notes count.
func.func @f() { return } // expected-note {{see existing symbol definition here}}
func.func @f() { return } // expected-error {{redefinition of symbol named 'f'}}
