"""Import predictions of other tools: probabilities, logits or class maps become a member like any other."""
