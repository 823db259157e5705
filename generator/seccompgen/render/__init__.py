"""Renderers: finished values in, the bytes of files out. Templates hold the form, not logic."""
