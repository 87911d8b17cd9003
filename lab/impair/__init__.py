"""Faults on the links of a lab: what can be set, and setting it."""
