"""Documents: how they are read, split, embedded, indexed and found."""
