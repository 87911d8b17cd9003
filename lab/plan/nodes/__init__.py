"""One module per node kind: each turns its part of the layout into kernel objects."""
