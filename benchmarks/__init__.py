"""Measurements of the claims about speed: ``make bench``."""
