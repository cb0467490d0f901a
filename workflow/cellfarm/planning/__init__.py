"""From what is wanted to a plan: cells, keys, causes, what is stale and why."""
