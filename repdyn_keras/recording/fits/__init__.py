"""One `fit` and its records: which epochs are recorded, with which weights, under which lock."""
