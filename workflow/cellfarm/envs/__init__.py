"""Environments: naming, building, locks, downloads."""
