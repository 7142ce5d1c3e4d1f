"""What is known about devices: profiles, predictors, cost models. Free of torch."""
