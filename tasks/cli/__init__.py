"""Command line of all tasks."""
