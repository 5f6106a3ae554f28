"""Beside the core: helpers for tests, Django, and tasks that can be aborted."""
