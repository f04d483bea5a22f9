"""Generated from protos/buf/validate by `make gen`: do not edit."""
