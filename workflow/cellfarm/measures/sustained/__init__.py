"""See measure.yaml."""
