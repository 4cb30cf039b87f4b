"""What the calls of `cascade_kv` raise. A miss is no error, nor is a refused put: those are values.

Picklable by name, so that they cross from a worker process to its parent.
"""

__all__ = ["CascadeError", "DeadlinePassed", "Forked", "NodeLost", "RefusedByNode"]


class CascadeError(Exception):
    """What all errors of this package derive from."""


class NodeLost(CascadeError):
    """No node answered until the deadline. The message lists the socket paths that were tried."""


class DeadlinePassed(CascadeError, TimeoutError):
    """The node lives, but did not answer until the deadline."""


class Forked(CascadeError):
    """The handle was made in the parent process: connect anew in this one."""


class RefusedByNode(CascadeError):
    """The node will not serve this client (another layout version, another user, too many clients)."""
