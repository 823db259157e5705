"""Everything that a command line calls FILTER: found, loaded, lifted, combined, compared."""
