"""The habit that this project replaces: a streaming view over slices of a query, each kept in Redis."""
