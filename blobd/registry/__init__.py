"""The OCI Distribution front."""
