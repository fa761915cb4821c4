"""The registry's management API: the model's calls for packages, and what else it takes."""
