"""torte.text."""
