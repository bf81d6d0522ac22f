"""Affect that shapes generation: an emotional state, its appraisal and decay, and what it does to sampling and style."""
