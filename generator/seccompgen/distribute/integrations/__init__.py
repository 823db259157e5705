"""Plugins with which other tools build a project's filters: one module per tool."""
