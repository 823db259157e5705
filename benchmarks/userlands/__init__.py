"""Programs recorded in Debian 11's user land, and run in later ones under what was recorded."""
