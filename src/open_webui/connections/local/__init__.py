"""Models of this machine: ELIZA in this process, others in child processes of their own."""
