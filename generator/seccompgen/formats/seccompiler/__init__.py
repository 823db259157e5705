"""Filters of seccompiler and Firecracker, read and written."""
