"""Directories by which people sign in: which there are, and what they say of a person."""
