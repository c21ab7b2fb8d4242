"""Train the members of a study on a Ray cluster."""
