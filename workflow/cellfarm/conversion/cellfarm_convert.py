"""What a library's convert.py may import of cellfarm (it runs in its own environment)."""


class Unsupported(Exception):
    """The converter refuses the model; the message is its own reason (operators by name)."""
