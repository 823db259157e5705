"""Filters compared: what two of them answer differently, and what makes a file stale."""
