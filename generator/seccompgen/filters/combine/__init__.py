"""Filters made from others: combined into one program, or converted from another format."""
