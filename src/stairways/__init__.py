"""Bring a trained trading policy into its behavioural band, and prove every step."""

__version__ = "0.1.0"
