"""Learning: features, training, evaluation, the promotion gate and model bundles."""
