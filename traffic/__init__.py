"""Traffic generators and responders: processes that are started inside a network namespace as `python -m traffic …`.

They report events as JSON lines. This package imports nothing from `lab`; what `lab` imports of it loads quickly,
without scapy and, but for `traffic.fleet`, without numpy.
"""
