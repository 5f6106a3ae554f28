"""The programs as processes of the operating system: what a terminal or an init system runs."""
