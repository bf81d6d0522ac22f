"""Second factors: proved at sign-in, set up, replaced and removed."""
