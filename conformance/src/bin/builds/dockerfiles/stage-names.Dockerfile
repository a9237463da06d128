FROM tiny AS UPPER
RUN echo u >/u
FROM upper as lower
FROM lower
COPY --from=Upper /u /v
