"""Packets of a lab in a file that wireshark opens: where they come from, and how they are written."""
