"""Adaptations to a project's framework that are applied when an app is created."""
