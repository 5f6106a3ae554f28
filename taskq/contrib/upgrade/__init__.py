"""Rewriting a project's Python files from Celery to taskq: imports, dotted names, settings.

``taskq upgrade`` prints and writes; what is changed is decided here. All but `renaming` needs
libcst, which keeps comments and layout (the extra ``upgrade``).
"""
