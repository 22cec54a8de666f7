"""A blind listening test: one page for listeners, and what their answers say."""
