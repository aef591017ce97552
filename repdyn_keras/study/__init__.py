"""Studies: many runs over seeds, and the findings that they support."""
