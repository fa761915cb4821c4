"""The rooms below the wire, one module each."""
