"""The process that makes pictures by a model of this machine. Of all this the server imports `calls` and `folders` alone."""
