"""The process that makes other formats of WAV. Of all this the server imports `calls` alone."""
