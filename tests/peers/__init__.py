"""Software of others against our endpoints, over real connections."""
