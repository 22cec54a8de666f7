"""Pieces as files: MIDI, MusicXML and ABC, and what they sound like. All give bytes, text or samples; nothing is written."""
