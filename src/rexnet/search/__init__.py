"""The channel search (section 4): proposals, candidates, the line."""
