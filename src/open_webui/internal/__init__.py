"""Machinery below the product: database, outgoing HTTP, logs."""
