"""Explain why an ensemble works: how different its members are, what each adds, and where the ensemble is unsure."""
