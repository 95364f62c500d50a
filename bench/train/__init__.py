"""Whole training steps, written with pynn.nn, beside the same words in PyTorch."""
