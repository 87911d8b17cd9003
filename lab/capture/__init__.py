"""Packets of a lab in a file that wireshark opens: where they are heard, and how they are written down."""
