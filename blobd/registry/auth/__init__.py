"""Who is asking: credentials, bearer tokens, and what a client asked its token for."""
