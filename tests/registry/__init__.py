"""Tests of the registry: its rules over a real catalog, and its protocol over real sockets."""
