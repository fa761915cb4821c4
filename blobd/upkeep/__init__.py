"""Jobs beside the traffic."""
