"""Which models may be in memory together: amounts by device, and the one policy that both pools act by."""
