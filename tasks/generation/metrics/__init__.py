"""Metrics of generated music: likelihood, features, voice leading, originality, structure."""
