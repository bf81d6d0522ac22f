"""Other people's Python: read without being run (`sources`), and run in processes of its own (`host`, `egress`)."""
