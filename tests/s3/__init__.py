"""blobd on a bucket: real daemons, real engines, and a relay between them that fails on demand."""
