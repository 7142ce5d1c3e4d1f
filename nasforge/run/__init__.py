"""The loop of a search, its folder, and what comes back from it."""
