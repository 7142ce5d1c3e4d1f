"""Targets: what measures latency, on this machine or by a named model of another."""
