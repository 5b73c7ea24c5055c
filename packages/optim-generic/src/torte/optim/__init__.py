"""torte.optim."""
