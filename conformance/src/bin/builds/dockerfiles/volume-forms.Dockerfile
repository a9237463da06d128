FROM tiny
VOLUME /a /b
VOLUME ["/c", "/with space"]
VOLUME /a
