"""Access: who it is, what they may see, until when, from where and how much."""
