"""Proof: named, seeded experiments that anyone can re-run, and the page made from what they wrote."""
