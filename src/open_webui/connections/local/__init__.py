"""Models of this machine: the built-in one in this process, others in child processes of their own."""
