"""The JSON of the wire, one file per resource."""
