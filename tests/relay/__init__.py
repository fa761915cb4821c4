"""A relay for HTTP between two programs under test, which fails where it is told to."""
