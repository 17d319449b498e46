"""The tests' clients of the wire protocol: one protocol without I/O, and a transport a module.

| module | what it is |
| --- | --- |
| `protocol` | frames in, frames out, positions, the gap rule, endings; strict JSON |
| `websocket` | one connection over the `websockets` library, for tests of single frames |
| `session` | the same, in this process and without a transport |
| `over_http` | requests of the HTTP endpoints |
| `watcher` | a client that reconnects and logs each callback; thousands fit into one process |
| `subscriber` | subscribers of a hub in this process, below the protocol |
| `octets` | the bytes of a handshake and of frames |
"""
