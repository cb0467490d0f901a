"""What the measured numbers mean: pure functions over rows of the warehouse."""
