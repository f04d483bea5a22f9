"""Generated from protos/pilothouse/v1 by `make gen`: do not edit."""
