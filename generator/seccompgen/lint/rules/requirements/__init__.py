"""What programs cannot do without."""
