"""Hydra configurations of nasforge; data only."""
