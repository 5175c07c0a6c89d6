"""The command ``rexnet``."""
