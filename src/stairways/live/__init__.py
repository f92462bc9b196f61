"""What acts: bars in, order intents out."""
