"""npm oidc-provider, and an application that logs its users in there."""
