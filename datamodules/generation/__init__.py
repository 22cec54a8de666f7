"""Symbolic music: pieces, readers, writers, corpora and views."""
