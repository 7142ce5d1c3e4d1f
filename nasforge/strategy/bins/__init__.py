"""Training by cost: bins of a cost range, how often each is trained, architectures generated for a cost."""
