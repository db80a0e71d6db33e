"""What is missing on this machine, and what a profile will take, before anything starts."""
