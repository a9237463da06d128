FROM tiny
WORKDIR /a
WORKDIR b
WORKDIR ../c/./d
RUN pwd >/where
