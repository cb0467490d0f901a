"""What a back end raises when its library cannot do what is asked: a result, not a fault."""


class Unsupported(RuntimeError):
    """The library refuses; the message is recorded as the cell's reason.

    A fall-back to another processor counts as a refusal.
    """
