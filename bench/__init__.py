"""Benchmarks against peers on the same machine: ``python -m bench cpu``."""
