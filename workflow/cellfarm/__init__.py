"""cellfarm: benchmark mobile deep-learning libraries on a farm of devices."""
