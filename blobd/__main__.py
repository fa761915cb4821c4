"""`python -m blobd`."""

from __future__ import annotations

from blobd.cli import main

if __name__ == "__main__":
    main(prog_name="blobd")
