"""The bridge, over real sockets, in front of a real gRPC server whose data the tests decide."""
