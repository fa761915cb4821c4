"""The real daemon killed with -9 under load, again and again; `python -m tests.crash --help`."""
