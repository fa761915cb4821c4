"""The registry's tables and all its SQL. Rules about them live in the floors above.

`read_queries` and `auth_queries` answer what every request asks; `links`, `contents`, `listings`
and the others are statements, to be composed inside a transaction.
"""
