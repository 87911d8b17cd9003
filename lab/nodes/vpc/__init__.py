"""The VPC's router."""
