"""An application whose changes are watched."""
