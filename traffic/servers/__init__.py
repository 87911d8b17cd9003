"""The other ends: resolver and remote servers."""
