"""Measurements, one command each; `make bench` runs them all."""

import os

# Read by gRPC when it is imported. Children are programs of their own, so gRPC need not prepare for a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
