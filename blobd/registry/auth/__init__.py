"""Authentication and policy: credentials, bearer tokens, scopes, roles and decisions."""
