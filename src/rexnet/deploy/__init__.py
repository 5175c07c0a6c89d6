"""Measured, exported networks: runtimes, timings, files and the latency of a design."""
