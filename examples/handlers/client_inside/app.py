"""A client in the handler: each invocation makes one, and opens a connection of its own, as in the article.

Like most SDKs' clients this one has references to itself. What it leaves behind is removed when Python's garbage
collector comes by, not when the handler returns; until then its connection is open, also while the environment is
frozen.
"""

import http.client
import os

HOST, PORT = os.environ.get("SERVER", "cache.example.com:443").split(":")


class Client:
    def __init__(self):
        self.connection = http.client.HTTPConnection(HOST, int(PORT), timeout=2)
        self.hooks = {"response": self.check}

    def get(self, path):
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        response.read()
        return self.hooks["response"](response)

    def check(self, response):
        if response.status != 200:
            raise RuntimeError(f"{HOST} answered {response.status}")
        return response.status


def handler(event, context):
    return {"status": Client().get(event.get("path", "/"))}
