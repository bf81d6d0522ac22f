"""Signing in by other sites: which there are, the way there and back, what comes back, and what the rules make of it."""
