"""The HTTP kit that both fronts share. It knows no routes of theirs."""
