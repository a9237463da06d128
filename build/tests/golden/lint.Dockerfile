ARG TAG
FROM --platform=$TARGETPLATFORM alpine:$TGA as Base
FROM --platform=linux/amd64 debian AS scratch
maintainer me
LABEL a b
ENV API_TOKEN=x
WORKDIR app
RUN echo \

  hi
COPY README.md $DSET/
EXPOSE 53/UDP 127.0.0.1:80:80
CMD first
CMD second
HEALTHCHECK NONE
HEALTHCHECK CMD x
FROM scratch AS scratch
COPY --from=base /x /
