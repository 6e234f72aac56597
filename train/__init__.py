"""Training of the models that interleave-rt ships, and of the roles of real checkpoints."""
