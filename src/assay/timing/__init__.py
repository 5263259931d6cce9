"""Operators on chips: seconds and joules."""
