"""The socket engine: clients on the kernel's own TCP."""
