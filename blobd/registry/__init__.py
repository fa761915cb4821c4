"""The registry: an OCI Distribution front. Delete this folder, and blobs are still served.

service      what the daemon knows of it   http/       routes and handlers
manifests    put, get, delete              tags        lists of names, deleting tags
referrers    who names a subject           links       what a repository sees and keeps alive
documents    reading manifests             catalog/    the tables, and all SQL
names        the grammar of names          packages/   the rules of packages
"""
