"""What the tests stand on: real databases, a provider that plays any part, the real server in a process of its own."""
