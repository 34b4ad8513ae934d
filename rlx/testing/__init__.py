"""What tests of compiled code are made of, beyond references: for rlx and for who builds on it."""
