"""Monitoring: drift of inputs and predictions, live quality with late truth, and alerts."""
