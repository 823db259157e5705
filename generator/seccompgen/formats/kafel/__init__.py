"""Policies in kafel, nsjail's language, and in configurations of nsjail."""
