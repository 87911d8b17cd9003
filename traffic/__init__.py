"""Traffic generators and responders: started inside a network namespace as `python -m traffic …`.

They speak JSON lines. This package imports nothing from `lab`; `lab` imports only `traffic.spec` and
`traffic.result`, which import no numpy.
"""
