"""Daphne, hardened for many sockets of untrusted clients: ``realtime.server.server.serve``.

The package serves any ASGI application and imports nothing else of the service but ``core``. What
the service decides reaches it as :class:`~realtime.server.options.Options`.

Daphne, Twisted and autobahn are subclassed beyond what they document. Each module that does so
names what it relies on, checks it when the server starts, and is replaced by Daphne's own class
where the check fails.
"""
