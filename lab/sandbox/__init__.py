"""The lab without root: namespaces of the user's own, in which the user has root's rights over nothing but a lab.

A process that sleeps holds them (`init`): a user namespace, in which the user's number is 0; a mount namespace, where
/run and /etc can be written to and nothing of it reaches the machine; a process namespace, so that everything in it
ends with that process. Each command enters them and forks (`entering`); labs are made in there as root makes them.
Its network is one of its own as well, with nothing in it: what must be reachable from the user's is opened there
(`outside`).
"""

from lab.sandbox.entering import enter

__all__ = ["enter"]
