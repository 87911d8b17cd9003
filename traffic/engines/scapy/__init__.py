"""The scapy engine: every packet shown and explained."""
