"""The embedded sample, which the project draws itself."""
