"""Policies in other formats.

These findings are about what the policy's own program makes of it, which is also what seccompgen
makes of it: the policy means less than it seems to say.
"""
