"""Runs other people's Python: a zygote that forks confined workers, and what stands in for the server inside them.

It knows nothing of the server and needs the standard library alone. The server's side is `open_webui.plugins`; between them
go the frames of `protocol`. `zygote` is the process that the server starts, `worker` what each of its children does,
`confine` what they may not do, `sockets` their network and `facade` the names of Open WebUI that plugins import.
"""
