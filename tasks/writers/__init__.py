"""Output files of `predict`: journal, resume and tables."""
