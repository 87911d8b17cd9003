"""A burst: what is asked for, what is sent, what came of it."""
