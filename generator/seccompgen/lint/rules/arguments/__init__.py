"""Comparisons of arguments."""
