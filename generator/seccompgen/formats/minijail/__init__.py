"""Policies of minijail, read and written."""
