"""One file per method of combining."""
