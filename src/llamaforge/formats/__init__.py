"""The shapes in which requests and answers are written for HTTP, one module for each API."""
