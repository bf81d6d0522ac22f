"""The process that decodes recordings and listens to them. Of all this the server imports `calls` alone."""
