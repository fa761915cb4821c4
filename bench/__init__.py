"""The benchmark: blobd beside a floor, docker-registry and nginx, on one machine in one run."""
