"""What a model may call while it answers: the port, and the tools that other servers offer."""
