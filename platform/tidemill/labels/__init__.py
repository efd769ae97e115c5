"""Labels: where a row's truth for training comes from."""
