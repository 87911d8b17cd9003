"""The clients of a burst: what they do and when, whatever carries it."""
