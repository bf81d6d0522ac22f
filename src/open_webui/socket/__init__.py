"""Real time: the Socket.IO server, who is connected, which rooms they are in, and how events reach them."""
