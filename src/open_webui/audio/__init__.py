"""Speech: engines that speak and engines that listen, near and far, each behind one port.

`base` has the ports and what passes through them. `espeak`, `speakers` speak; `listeners` and `local` listen. What decodes
recordings and runs models is in `worker`, a process of its own; nothing of it is imported by the server.
"""
