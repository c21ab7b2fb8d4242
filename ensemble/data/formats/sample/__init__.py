"""The embedded sample, drawn by the project itself."""
