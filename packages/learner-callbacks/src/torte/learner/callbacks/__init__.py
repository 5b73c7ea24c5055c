"""Callbacks that come with the Learner, one subject a module."""

# Imported where they are needed, not here: some of them need the Learner, which needs others.
__all__: list[str] = []
