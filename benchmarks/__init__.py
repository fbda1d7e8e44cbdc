"""Measurements: one module for each question asked, run as ``python -m benchmarks.NAME``."""
