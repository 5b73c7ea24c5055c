"""torte.dispatch."""
