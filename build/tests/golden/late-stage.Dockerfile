FROM alpine AS one
COPY --from=later /x /x
FROM busybox AS later
FROM one
