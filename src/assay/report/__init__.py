"""Answers as people read them: terminal pages, braille charts, CSV and JSON."""
