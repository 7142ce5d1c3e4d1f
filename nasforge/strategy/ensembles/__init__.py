"""Ensembles on a shared trunk: their genes, and what operators are worth in them."""
