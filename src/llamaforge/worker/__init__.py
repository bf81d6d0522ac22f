"""The inside of a model's process: one model behind an HTTP server of OpenAI's shapes on the loopback address."""
