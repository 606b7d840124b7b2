"""The API dialects, pure: bytes to GenerateRequest, events to reply."""
