"""What remembers: database and migrations, artifacts."""
