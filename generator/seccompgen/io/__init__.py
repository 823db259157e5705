"""Files that others made, the terminal, and what a command writes."""
