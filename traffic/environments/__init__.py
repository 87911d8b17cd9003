"""Execution environments of Lambda: a function's own code, served the Runtime API, frozen between its invocations."""
