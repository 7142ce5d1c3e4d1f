"""Single paths through a supernet: which train together, what is learned over them, which is likeliest."""
