"""What people are told of alerts, when, and how it reaches them."""
