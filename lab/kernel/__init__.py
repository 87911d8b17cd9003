"""The only rooms that touch the kernel, and the only importer of pyroute2: plans are applied, undone and read here."""
