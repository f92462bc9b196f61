"""A policy without torch: specification, weights, the actor, tilt, recurrent state."""
