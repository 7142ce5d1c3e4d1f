"""nasforge: neural architecture search."""
