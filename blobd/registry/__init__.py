"""The registry: a thin OCI Distribution front. Delete this folder, and blobs are still served.

http/        routes and handlers           roots       what garbage collection starts from
manifests    put, get, delete              tags        lists of names, deleting tags
referrers    who names a subject           links       what a repository sees and keeps alive
pins         while bytes are published     catalog/    the tables, and all SQL
documents    reading manifests             names       the grammar of names
"""
