"""Figures and the one-page report, drawn from run folders alone."""
