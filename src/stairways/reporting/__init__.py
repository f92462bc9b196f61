"""What people read: the run summary, its pictures and the terminal's words."""
