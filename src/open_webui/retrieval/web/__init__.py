"""The web: pages, transcripts of videos, and search engines."""
