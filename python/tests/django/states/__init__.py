"""Serializers that read a state of the program, each in its way."""
