FROM alpine
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
RUN echo | cat
CMD exec app
ENTRYPOINT exec entry
STOPSIGNAL SIGRTMIN+3
USER ${WHO:-nobody}
WORKDIR /a
WORKDIR b/../c
VOLUME /v1 /v2
EXPOSE 7000-7002/tcp 53/udp 53/udp
HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2s --start-interval=1s --retries=5 CMD ["ok", "$x"]
ARG GIVEN=1 DEFAULTED=2 NOTHING
