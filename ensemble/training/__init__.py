"""Training one member: the plan, the loop on one screen, checkpoints, hardware."""
