"""Runs code that a model or a person wrote: in a confined process of this machine, on a Jupyter server, or on the page.

`running` chooses the engine that an admin set, `sandbox`, `jupyter` and `page` are the engines, `results` makes of what came an
answer for a model, and files.
"""
