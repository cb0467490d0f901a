"""Warm latency against LiteRT's own benchmark tool, on the same artifact, 1 and 2 threads.

As `own_tools` does for every library with one thread: pairs of a launch of cellfarm's runner and a
run of the tool. The inputs differ (the tool makes random ones), which FP32 kernels do not see.
"""

from __future__ import annotations

from .figures import Figure, Options, keep_raw
from .own_tools import compare, library_figure

TARGET_PERCENT = 3.0
MODELS = ["mobilenet_v2", "squeezenet1_1"]
THREADS = [1, 2]
PAIRS = 12


def measure(options: Options) -> list[Figure]:
    pairs = options.runs or (2 if options.quick else PAIRS)
    comparisons = compare(options, pairs, models=MODELS, libraries=["litert"], threads=THREADS)
    keep_raw("against_tool", options, [comparison.as_dict() for comparison in comparisons])
    return [library_figure(f"LiteRT, all {len(comparisons)} settings", comparisons, TARGET_PERCENT)]
