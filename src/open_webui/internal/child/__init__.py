"""A supervised child process for what is heavy or foreign: `process` is our end of its pipe, `serve` its own."""
