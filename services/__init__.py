"""One folder per kind of process. They never import each other."""
