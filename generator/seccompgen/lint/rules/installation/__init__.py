"""How a filter is installed."""
