"""Where models come from: endpoints that speak OpenAI's or Ollama's wire, and models in this process; one catalogue of all."""
