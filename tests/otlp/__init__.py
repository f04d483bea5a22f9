"""OpenTelemetry's spans: how they are read, what they mean, and a real server that takes them."""
