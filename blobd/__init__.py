"""blobd: a storage daemon for content-addressed blobs, with a thin OCI registry in front."""

__version__ = "0.1.0"
