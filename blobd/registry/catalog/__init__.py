"""The registry's tables and all its SQL. Rules about them live in the floors above.

`hot` answers what every request asks; `holds`, `contents` and `listings` are the statements, to be
composed inside a transaction.
"""
