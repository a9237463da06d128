FROM tiny
RUN mkdir -p -m 711 /m/sub && echo old >/m/one && echo keep >/m/sub/keep && chown 7:8 /m/sub
COPY tree /m
