"""Modules of Open WebUI that plugins import, each named as there, with __ for the points: small helpers, written anew."""
