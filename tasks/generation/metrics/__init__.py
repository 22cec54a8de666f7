"""What is measured of generated music: likelihood, features, voice-leading rules, originality, structure and density."""
