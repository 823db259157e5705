"""Plugins by which other tools build a project's filters: one module a tool."""
