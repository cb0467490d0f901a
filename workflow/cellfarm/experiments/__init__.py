"""Experiments: the stale cells of one model on one device, in interleaved rounds of fresh launches."""
