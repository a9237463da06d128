FROM tiny
SHELL ["/bin/sh", "-exc"]
RUN echo one >/one
CMD run it
ENTRYPOINT start it
SHELL ["/bin/busybox", "sh", "-c"]
RUN echo two >/two
HEALTHCHECK CMD look
