# syntax=docker/dockerfile:1
ARG GO_VERSION=1.22
ARG ALPINE=alpine:3.20

# build compiles the program
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
ARG TARGETOS TARGETARCH
ARG GO_VERSION
WORKDIR /src
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/app .

FROM build AS test
RUN go test ./...

FROM ${ALPINE} AS final
COPY --from=build --link /out/app /usr/local/bin/
USER 1000:1000
ENTRYPOINT ["app"]
