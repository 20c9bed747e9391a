"""Webhooks: who is told of events (`endpoints`), and how: signed, retried, and never to an address inside."""
