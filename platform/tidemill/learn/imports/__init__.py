"""Models trained elsewhere: how a file becomes a version beside the trained ones, and why one is refused."""
