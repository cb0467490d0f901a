"""The pure core: cells, their keys, what is stale, and the records of results."""
