"""Blind listening test: page for listeners, and analysis of their responses."""
