"""Small pure functions, importing nothing of ours."""
