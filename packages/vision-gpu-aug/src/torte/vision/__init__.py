"""torte.vision."""
