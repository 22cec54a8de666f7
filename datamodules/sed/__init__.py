"""Data of sound event detection."""
