"""What the user wants: configuration, recipes, devices, tools, labelled data."""
