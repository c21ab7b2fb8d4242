"""Models for use elsewhere: bundles, ONNX graphs, and packs of runs for reviewers."""
