"""The Channels groups: the format of their messages, and the way they are received."""
