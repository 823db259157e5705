"""Input files, the terminal, and output files."""
