"""Sentence models and cross-encoders on onnxruntime. What is here runs in a child process, but for `local`, its other end."""
