"""Where images and masks come from: one file per format."""
