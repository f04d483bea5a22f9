"""The gRPC side: server assembly, interceptors, status mapping, one servicer for each service."""
