"""What stands behind the ports: event logs, databases, notifiers."""
