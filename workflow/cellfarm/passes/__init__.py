"""Passes: changes of a model before it is converted, such as pruning. A file here is a pass of its name.

They run in the models' environment, from a copy of the code that holds only the passes of a chain; nothing
else of the package imports them. See docs/adding-a-pass.md.
"""
