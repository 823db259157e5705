"""The types that all other packages share: frozen values, without I/O."""
