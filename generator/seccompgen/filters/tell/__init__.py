"""The effect of a filter, in words: explained, summed up, checked, collected for reports."""
