"""Measurements by others and by the user, in one schema."""
