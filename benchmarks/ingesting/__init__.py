"""The parts of `benchmarks/ingest.py`: the files to read, our side, and the peers' sides."""
