"""What everything else stands on: errors, files, digests, processes, locks, project paths."""
