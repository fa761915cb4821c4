"""Packages: repositories as people see them, with owners, rights and versions."""
