"""Train one member in several processes (experimental)."""
