"""The results, one file each."""
