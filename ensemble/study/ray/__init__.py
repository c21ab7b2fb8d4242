"""Train the members of a study on the nodes of a Ray cluster that share a folder."""
