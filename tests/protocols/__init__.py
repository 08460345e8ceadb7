"""The protocols, statement by statement: test names carry the ids of the standards checklist."""
