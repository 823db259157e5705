"""Programs watched while they run, and read without running them."""
