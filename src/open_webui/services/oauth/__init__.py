"""Signing in by other sites: the way there and back, whose account it is, signing out there, and why it went as it did."""
