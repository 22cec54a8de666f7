"""Metrics of sound events."""
