"""The ways out: webhooks, CloudEvents, and what Apprise knows."""
