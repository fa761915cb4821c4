"""Accounts, their tokens, and who of them is asking."""
