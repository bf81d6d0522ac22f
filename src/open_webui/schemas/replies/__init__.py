"""The JSON of replies as types: declared at the handlers and compared with the interface by tests, not at run time."""
