"""Datasets and benchmarks: one module each."""
