"""A search space and a strategy that are no part of nasforge."""
