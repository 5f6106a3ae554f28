"""Tasks that know Django's transactions."""
