"""Samples from the data of a training: which are drawn, and how data is read without a trace."""
