"""Image sets and augmented batches."""
