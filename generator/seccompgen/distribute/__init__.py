"""Filters on their way into applications: vendored, scaffolded, built by plugins."""
