func.func @missing() { return } // expected-error {{something else}}

// -----

func.func @unexpected() {
  nothing
}

// -----

func.func @kind() {
  nothing // expected-warning {{custom op}}
}

// -----

func.func @often() {
  nothing // expected-error 2 {{custom op}}
}

// -----

func.func @note() { return }
// expected-error @+1 {{redefinition}}
func.func @note() { return }
