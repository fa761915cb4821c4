"""HTTP of the registry: route, authorise, link; rules live one floor down."""
