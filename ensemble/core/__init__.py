"""Foundations that every room may use: errors, the registry, component texts, files, locks, progress, colours."""
