"""``scan`` on programs that its tests do not have: known or unknown, and at what cost."""
