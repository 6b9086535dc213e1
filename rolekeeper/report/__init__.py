"""The safety report as people and machines read it: its JSON schema, and an HTML page made from the JSON alone."""
