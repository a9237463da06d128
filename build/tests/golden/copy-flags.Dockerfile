FROM alpine
ARG U=app
COPY --chown=$U:$U --chmod=u=rwX,go=rX --link --exclude=*.md --exclude=!README.md src/ ./dst/
COPY --parents=true --from=busybox ./a/./b/**/c /d/
COPY ["with space", "/dst dir/"]
ADD --checksum=sha256:0123 --unpack=true https://example.com/x.tar.gz /opt/
ADD --keep-git-dir=true https://example.com/repo.git?branch=main&subdir=docs /src
ADD git@example.com:group/repo.git#v1:lib ../lib
ADD archive.tar.gz .
