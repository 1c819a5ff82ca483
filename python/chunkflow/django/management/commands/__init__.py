"""`manage.py chunkflow_check`."""
