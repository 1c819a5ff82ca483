"""One list, by each way in which one would write it in Django."""
