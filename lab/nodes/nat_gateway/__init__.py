"""The NAT gateway."""
