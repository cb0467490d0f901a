"""The command line: `cellfarm --help`."""
