"""Virtual devices: a phone and a board on this machine, to try a farm and to test it.

Nothing measured on them is a result: their cells are marked `emulated`.
"""
