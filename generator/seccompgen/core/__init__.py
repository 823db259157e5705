"""The vocabulary of every other room: frozen values, without I/O."""
