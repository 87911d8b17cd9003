"""`lab invoke`: a function's own code in execution environments of the lab, and what the kernel counted of each."""
