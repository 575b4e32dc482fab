"""The exceptions that a user can meet.

Every message names the layer or file, the rule, both sides of the comparison, and a way out. The command line prints
the message alone and exits with 2; the library raises.
"""


class FullMochaError(Exception):
    """Base of everything that this package raises on purpose."""


class TopologyError(FullMochaError):
    """The layers do not make a net: a duplicate, missing or looping blob, or a loss that cannot be reached."""


class ShapeError(FullMochaError, ValueError):
    """A layer's configuration, or the blobs that reach it, break the layer's own rule."""


class NotDenseError(FullMochaError):
    """A patch net has no dense form that equals the sliding window."""


class FormatError(FullMochaError, ValueError):
    """A file is not what it should be: truncated, corrupt, of another kind, or with a syntax error."""


class WeightsError(FullMochaError):
    """Weights do not fit the net: missing, mis-shaped, or not finite."""


class BudgetError(FullMochaError):
    """The memory budget is too small for the smallest piece of work."""


class UnsupportedError(FullMochaError):
    """A backend, layer type or option that this version does not have."""


class SolverError(FullMochaError):
    """Training cannot start, resume or go on: parameters, a snapshot of something else, or a loss that is not finite."""
