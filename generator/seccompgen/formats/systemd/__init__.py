"""Settings of systemd's units, read and written."""
