"""Settings: their fields, checks and serialization."""
