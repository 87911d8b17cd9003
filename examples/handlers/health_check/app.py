"""A client outside of the handler, whose connection a thread keeps alive; a frozen environment runs no thread.

The health check is right on a server, where it runs all the time. In Lambda it runs during invocations only: after a
pause that is longer than the NAT gateway's idle time-out the connection is gone, and the next
invocation, or the health check that wakes up with it, meets a reset.
"""

import http.client
import os
import threading
import time

HOST, PORT = os.environ.get("SERVER", "cache.example.com:443").split(":")
EVERY_S = float(os.environ.get("HEALTH_CHECK_EVERY_S", "5"))

client = http.client.HTTPConnection(HOST, int(PORT), timeout=2)
lock = threading.Lock()


def get(path):
    with lock:
        try:
            client.request("GET", path)
            response = client.getresponse()
            response.read()
        except OSError:
            client.close()
            raise
        return response.status


def health_check():
    while True:
        time.sleep(EVERY_S)
        try:
            get("/health")
        except OSError as error:
            print(f"health check: {error}")


threading.Thread(target=health_check, daemon=True).start()


def handler(event, context):
    return {"status": get(event.get("path", "/"))}
