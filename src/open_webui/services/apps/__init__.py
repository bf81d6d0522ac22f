"""Apps: outside programs that are connected, invited into channels, told what is said there, and answer."""
