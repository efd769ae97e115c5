"""Answering: records checked against the contract, scored by the live model, logged, and which model is live."""
