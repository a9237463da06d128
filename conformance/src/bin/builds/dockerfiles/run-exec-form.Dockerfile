FROM tiny
RUN ["/bin/sh", "-c", "echo exec >/f"]
RUN ["touch", "/by path"]
