"""A real Celery app on a real Valkey, seen and steered through a connector."""
