"""Callbacks that come with the Learner, one subject a module."""
