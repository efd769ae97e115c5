"""The front door: one ASGI application over the core. One module per service, each a router of short functions."""
