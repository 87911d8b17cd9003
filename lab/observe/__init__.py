"""Kernel readings as values: what is held, what was refused, since when."""
