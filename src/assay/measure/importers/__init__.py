"""Readers of published measurement formats, one file a format."""
