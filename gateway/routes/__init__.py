"""One file per kind of resource; a route is a few lines that call the use case."""
