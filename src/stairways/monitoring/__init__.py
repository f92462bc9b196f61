"""What watches: pages for people on call, and the spool that keeps them while nobody can be reached."""
