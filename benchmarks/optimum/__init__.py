"""Programs beside the shortest that are possible, on small instances."""
