"""Training of networks and supernets."""
