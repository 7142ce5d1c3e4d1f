"""Populations: selection, variation, exits, and evolution over trained weights."""
