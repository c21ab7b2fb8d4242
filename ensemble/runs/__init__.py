"""Everything on disk: members, ensembles and their stored probabilities."""
