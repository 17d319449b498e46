"""Who may connect and subscribe, and until when."""
