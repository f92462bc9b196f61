"""What judges: statistics, baselines, replay, shadow replay, gates and verdicts."""
