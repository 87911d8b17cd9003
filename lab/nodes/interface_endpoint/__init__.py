"""The interface endpoint."""
