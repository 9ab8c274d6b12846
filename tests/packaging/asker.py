"""Asks a role again and again, on a connection each, until its stdin is closed; run in the machine, by its python3.

Its last word, in JSON: what was said, one entry whenever it changes, [seconds since the start, "200"], and how often it
asked.
"""

import http.client
import json
import select
import sys
import time


def ask(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return "200" if answer.status == 200 else f"{answer.status} {answer.reason}"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def main(port: int, path: str) -> None:
    said: list[tuple[float, str]] = []
    started, count = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], 0.005)[0]:
        word = ask(port, path)
        count += 1
        if not said or said[-1][1] != word:
            said.append((time.monotonic() - started, word))
            print("asking", flush=True)
    print(json.dumps({"said": said, "count": count}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
