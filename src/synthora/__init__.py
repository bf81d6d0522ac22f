"""Messages in, messages out: model backends with callbacks over any provider, and over llamaforge in this process."""
