ARG GLOBAL=global
ARG BASE=tiny
FROM $BASE AS one
RUN echo "[$GLOBAL]" >/one
ARG GLOBAL
RUN echo "[$GLOBAL]" >/two
FROM ${BASE}
ARG GLOBAL=own
COPY --from=one /one /two /
RUN echo "[$GLOBAL]" >/three
