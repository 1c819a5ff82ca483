# Reads JSON from its input as a careful program in Python would: nothing but what RFC 8259 has, no infinity. Prints OK.
import json, math, sys


def number(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("infinite: " + text)
    return value


def nothing(text):
    raise ValueError("no JSON: " + text)


value = json.loads(sys.stdin.buffer.read().decode("utf-8"), parse_float=number, parse_int=number, parse_constant=nothing)
json.dumps(value).encode("utf-8")
print("OK")
