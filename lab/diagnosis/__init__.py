"""Evidence, findings, words: why connections were lost."""
