"""blobd on a bucket."""
