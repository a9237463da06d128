FROM alpine AS one
COPY --from=two /x /x
FROM one AS two
