FROM alpine AS unneeded
RUN --mount=type=vlume,target=/x true
FROM alpine
RUN --mount=type=cache,target=/x,sharing=lockd \
    true
