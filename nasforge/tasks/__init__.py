"""Tasks and data sets."""
