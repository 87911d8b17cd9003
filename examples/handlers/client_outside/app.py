"""A client outside of the handler: an environment makes it once, and its connection is used by every invocation."""

import http.client
import os

HOST, PORT = os.environ.get("SERVER", "cache.example.com:443").split(":")
client = http.client.HTTPConnection(HOST, int(PORT), timeout=2)


def handler(event, context):
    try:
        client.request("GET", event.get("path", "/"))
        response = client.getresponse()
        response.read()
    except OSError:
        client.close()  # or the next invocation would find it half-way through a request
        raise
    return {"status": response.status}
