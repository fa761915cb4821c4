"""The registry over HTTP: routes and handlers. Rules live in the floors below."""
