"""The ``taskq`` command: one file per subcommand, built on click.

Files here parse the command line and print; what a command does is done by the app and its rooms.
"""
