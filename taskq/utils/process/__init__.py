"""Processes as the operating system sees them; one file for each aspect.

Everything public is found in :mod:`taskq.platforms`.
"""
