FROM tiny
ONBUILD RUN echo hello >/onbuild
ONBUILD COPY a.txt /onbuild.txt
ONBUILD ENV A=$B
