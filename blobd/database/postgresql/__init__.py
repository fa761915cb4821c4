"""The catalog on PostgreSQL, for any number of replicas on any number of machines."""
