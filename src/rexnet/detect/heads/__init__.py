"""Detector heads: what turns the maps of a backbone into boxes and scores."""
