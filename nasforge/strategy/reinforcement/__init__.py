"""Search by reinforcement learning: controller, reward, baseline."""
