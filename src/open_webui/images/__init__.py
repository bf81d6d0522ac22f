"""Pictures made and changed by engines: the port, its adapters, and the process that checks what they give."""
