"""Which library to choose for a model that was not measured on a device, and what that choice may cost."""
