"""Measurements of the claims about speed: ``make bench``.

- A *way* is a solution that is compared, or a floor: the least work that any solution can do.
- A *peer* is the code of one way: its server, its clients' handshake and its publisher.
- A *work* is one measurement, of several ways. It has a table.
- A *case* is what varies within a work, such as the number of sockets.
- A *round* measures a way once. The table shows the median of the rounds.
"""
