"""Studies: many trainings, or many layers, and the table or the figure that they make."""
