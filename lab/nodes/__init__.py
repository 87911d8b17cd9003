"""One place for each node kind."""
