"""The Python client, the executor SDK and the command line, against a small server that fails on purpose."""
