"""Models for use elsewhere: bundles."""
