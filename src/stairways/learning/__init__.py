"""What changes weights, with torch: networks, warm start, PPO, gold training."""
