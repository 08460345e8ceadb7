"""Programs of others, for real, in front of us and behind us."""
