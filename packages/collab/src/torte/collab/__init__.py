"""torte.collab."""
