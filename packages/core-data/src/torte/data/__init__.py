"""torte.data."""
