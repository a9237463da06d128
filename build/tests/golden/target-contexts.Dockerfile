FROM debian AS base
RUN never
FROM base AS one
COPY --from=files a b
COPY --from=0 c d
RUN --mount=from=images,target=/i true
FROM one AS two
