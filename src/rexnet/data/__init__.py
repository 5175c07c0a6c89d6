"""Images: where they come from, augmented, in batches."""
