"""Policies of other libraries: zips of stable-baselines3 in and out, ONNX out; nothing pickled is opened."""
