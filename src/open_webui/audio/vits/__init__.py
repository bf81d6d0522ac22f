"""The process that speaks with VITS models of Transformers. The server imports nothing of it: it is asked as `audio.voice` is."""
