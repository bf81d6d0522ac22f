"""What this server holds, or what one person has in it, as one archive that people can read and an import takes back."""
