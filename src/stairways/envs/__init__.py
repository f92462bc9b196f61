"""Simulation for training: reward, the Gymnasium environment and its batched form."""
