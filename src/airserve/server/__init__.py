"""The composition root: settings -> app; start, drain, stop; TLS, health, metrics."""
