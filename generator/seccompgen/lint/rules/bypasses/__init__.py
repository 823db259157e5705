"""Calls that get past a refusal."""
