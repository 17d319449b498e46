"""The web server: Daphne, hardened."""
