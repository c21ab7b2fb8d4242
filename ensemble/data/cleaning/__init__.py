"""Find images that should not be trained on."""
