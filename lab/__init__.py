"""A packet-level lab for AWS Lambda in a VPC, built from Linux network namespaces."""
