"""The programs that people push and pull with, against a running daemon."""
