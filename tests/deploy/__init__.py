"""The worked examples in `deploy/`, run as they stand but for addresses and folders."""
