"""What trading means: actions, costs, account, and the metrics of a run."""
