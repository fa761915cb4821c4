"""Why blobs live: what refers to them, and what becomes of those that nothing refers to.

tables      digests, pins, leases              kinds        what counts as a reference
pins        while bytes are published          roots        what garbage collection starts from
holds       a digest's row, in SQL             collection   removing what nothing refers to
quarantine  what is damaged is not served      scrub        finding that
store_marker   which store this is             neighbours   who else is at work on it

A front registers each of its kinds of reference (`kinds.Kind`), so nothing here knows one by name.
"""
