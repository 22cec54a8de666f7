"""Peers with conflicting dependencies: each runs in a separate environment and exchanges files."""
