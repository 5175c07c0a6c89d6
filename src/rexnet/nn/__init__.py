"""A NetSpec as a torch module, and trained weights for it."""
