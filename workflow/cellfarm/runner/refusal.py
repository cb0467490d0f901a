"""What a back end raises when its library cannot do what is asked, which is a result and no fault."""


class Unsupported(RuntimeError):
    """The library's own refusal; the message is the reason that the cell is recorded with.

    A fall-back to another processor is one, too: the library did not do what was asked.
    """
