"""Ways for filters into applications: vendoring, scaffolding, build plugins."""
