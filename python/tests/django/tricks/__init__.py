"""An application with lists: every relation, every field type, rows of several organisations."""
