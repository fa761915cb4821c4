"""Where bytes live. This is the only place that names concrete backends."""
