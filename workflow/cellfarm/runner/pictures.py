"""From a stored picture to a model's input, and from the model's output to classes."""

from typing import Any

#: How many of the classes with the largest scores are kept.
TOP = 5


def prepare(pixels: Any, facts: dict[str, Any]) -> Any:
    """The input for a picture, as the model's builder made it for the reference (models/labelled.py).

    Args:
        pixels: uint8 [height, width, 3].
        facts: `mean` and `std` per channel, of pixels from 0 to 1; `layout`, NCHW or NHWC; `dtype`.

    Returns:
        [1, 3, height, width] or [1, height, width, 3].
    """
    import numpy

    mean, std = (numpy.asarray(facts[name], numpy.float32) for name in ("mean", "std"))
    scaled = (pixels.astype(numpy.float32) / numpy.float32(255) - mean) / std
    if facts["layout"] == "NCHW":
        scaled = scaled.transpose(2, 0, 1)
    return numpy.ascontiguousarray(scaled[None], dtype=facts["dtype"])


def top_classes(scores: Any) -> Any:
    """The classes of the TOP largest scores, the largest first, as int32; of equal scores the first
    class counts. If a score is not finite, all are -1, which is no class."""
    import numpy

    flat = numpy.asarray(scores).reshape(-1).astype(numpy.float64)
    if not numpy.isfinite(flat).all():
        return numpy.full(min(TOP, flat.size), -1, numpy.int32)
    return numpy.argsort(-flat, kind="stable")[:TOP].astype(numpy.int32)
