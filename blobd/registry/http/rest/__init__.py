"""The management API: GitHub's calls for packages, and calls of our own."""
