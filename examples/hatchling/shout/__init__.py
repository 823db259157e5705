"""Text in capitals."""
