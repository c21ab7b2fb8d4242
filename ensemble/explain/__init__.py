"""Explain what each member contributes to an ensemble."""
