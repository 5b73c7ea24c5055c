"""torte.tabular."""
