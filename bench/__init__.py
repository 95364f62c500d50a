"""Benchmarks, run from the repository root: `python -m bench.cpu` for the CPU path."""
