"""Recordings and scores: readers, data sets, features and training crops."""
