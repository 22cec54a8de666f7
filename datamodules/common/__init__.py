"""Shared parts of the data modules: base class, sampler, cache, locks, reports."""
