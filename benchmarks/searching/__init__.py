"""The sides of `benchmarks/training.py`, each a process of its own."""
