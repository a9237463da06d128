ARG V=1
FROM tiny AS build
ARG V
WORKDIR /src
COPY tree .
RUN find . -type f ! -name list | sort >list && echo v$V >version
FROM full
ARG V
USER root
COPY --from=build --chown=guest:staff /src/list /src/version /opt/
RUN rm -rf /data/seed
ENV VERSION=v$V
LABEL version=$V
VOLUME ["/opt/data"]
HEALTHCHECK --interval=10s CMD test -e /opt/list
EXPOSE 8080
USER guest
WORKDIR /opt
ENTRYPOINT ["/bin/tell"]
CMD ["--version"]
