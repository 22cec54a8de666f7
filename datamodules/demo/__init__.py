"""Embedded data sets, rendered from bundled scores and sounds."""
