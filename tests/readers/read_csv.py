# Reads CSV from its input with Python's strict reader, and prints the records as JSON.
import csv, io, json, sys

text = io.StringIO(sys.stdin.buffer.read().decode("utf-8"), newline="")
print(json.dumps(list(csv.reader(text, strict=True))))
