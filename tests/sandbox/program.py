"""A program for tests: what the payload says is run as Python, with `tell` to write to the result."""

import os


def main(payload: int, result: int) -> None:
    with open(payload, "rb") as file:
        code = file.read().decode()
    exec(code, {"tell": lambda value: os.write(result, repr(value).encode())})
