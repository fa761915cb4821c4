"""Pages for people: what a package is and how to pull it, rendered here, without a build step."""
