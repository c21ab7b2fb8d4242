"""Predict with trained members and ensembles."""
