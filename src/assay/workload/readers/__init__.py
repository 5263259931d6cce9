"""Readers of traces: bytes -> lines -> checked columns, one file a family of formats."""
