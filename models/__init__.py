"""Networks of all tasks."""
