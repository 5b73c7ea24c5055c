"""torte.learner."""
