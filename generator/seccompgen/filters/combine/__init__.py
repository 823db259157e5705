"""Filters made of others: combined into one program, or taken over from another format."""
