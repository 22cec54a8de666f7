"""Data of music tagging."""
