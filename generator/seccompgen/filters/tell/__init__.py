"""What a filter does, in words: explained, summed up, checked, and collected for reports."""
