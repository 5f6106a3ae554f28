"""Helpers for the tests of projects that use taskq; used by the pytest plugin too."""
