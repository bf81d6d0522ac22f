"""Terminal servers: who may use which, requests and sockets that go through to them, and what they offer to models."""
