"""Models for use elsewhere: bundles, and packs of runs for reviewers."""
