"""What the market gives: bar sources, calendar, sessions, synthetic markets, features, regime."""
