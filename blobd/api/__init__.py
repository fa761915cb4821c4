"""The blob API: plain internal HTTP for registry frontends, health and metrics."""
