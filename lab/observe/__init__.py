"""What the kernel says: what is held, what was refused, since when."""
