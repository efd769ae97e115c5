"""Parts of benchmarks/serving.py: the model, the servers beside ours, and the client."""
