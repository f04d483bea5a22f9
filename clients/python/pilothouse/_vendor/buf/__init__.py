"""Generated from protos/buf by `make gen`: do not edit."""
