"""Whatever a command line calls FILTER: found, read, taken apart, combined, compared."""
