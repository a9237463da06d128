#!/usr/bin/env python3
"""Takes down what a Docker client asks its daemon for: create.json, from the command lines in it.

    python3 create.py [DOCKER]

FILES stands for the directory create/, HERE for this one, UP for the one above; of a request only that is kept in which it differs from the first.
`docker29` is what the client of Docker 29 says by its source, where the one that was asked is older, or what we say on top of it.
A daemon that answers nothing but a ping and a creation listens on a socket; each command line is given to the client, and the body of
its request, or its complaint, is written beside the arguments.
"""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(HERE, "create")
bodies = []


def hide(text):
    return text.replace(FILES, "FILES").replace(HERE, "HERE").replace(os.path.dirname(HERE) + ":", "UP:")


class Daemon(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Api-Version", "1.51")
        self.send_header("OSType", "linux")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.answer(200, "OK")

    do_GET = do_HEAD

    def do_POST(self):
        bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(201, {"Id": "f" * 64, "Warnings": []})

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main():
    docker = sys.argv[1] if len(sys.argv) > 1 else "docker"
    path = os.path.join(HERE, "create.json")
    cases = json.load(open(path))
    with tempfile.TemporaryDirectory() as directory:
        socket = os.path.join(directory, "docker.sock")
        server = Server(socket, Daemon)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "PATH": os.environ["PATH"],
            "DOCKER_HOST": "unix://" + socket,
            "DOCKER_CONFIG": directory,
            "CARGO_PKG_NAME": "cli",
        }
        first = None
        for case in cases:
            bodies.clear()
            done = subprocess.run(
                [docker, "create", *(a.replace("FILES", FILES) for a in case["args"])],
                env=environment,
                capture_output=True,
                text=True,
                cwd=HERE,
            )
            for key in ("config", "host", "networks", "code", "stderr"):
                case.pop(key, None)
            if done.returncode == 0:
                body = json.loads(hide(json.dumps(bodies[-1])))
                request = {"networks": body.pop("NetworkingConfig")["EndpointsConfig"], "host": body.pop("HostConfig")}
                request["config"] = body
                first = first or request
                if case is not cases[0] and request["networks"] == first["networks"]:
                    del request["networks"]
                for part, values in request.items():
                    if case is cases[0]:
                        case[part] = values
                    else:
                        case[part] = {k: v for k, v in values.items() if part == "networks" or first[part].get(k) != v}
            else:
                case["code"] = done.returncode
                case["stderr"] = hide(done.stderr)
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n")


main()
