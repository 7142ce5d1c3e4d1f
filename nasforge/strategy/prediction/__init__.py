"""Predictors: architectures as points, and an ensemble of Gaussian processes over them."""
