"""A NetSpec made a torch module, and the weights of others read into it."""
