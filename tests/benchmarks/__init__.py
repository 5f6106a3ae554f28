"""taskq measured beside Celery and other task queues: ``python -m tests.benchmarks``."""
