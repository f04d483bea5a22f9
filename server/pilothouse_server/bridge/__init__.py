"""The bridge: WebSocket, REST and static files for browsers. A client of the gRPC server, nothing more."""
