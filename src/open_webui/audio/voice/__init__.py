"""The process that speaks with voices of Piper's. Of all this the server imports `calls` alone."""
