"""WebSocket, REST and static files: a client of the gRPC server, nothing more."""
