"""Audio files, packs and clips."""
