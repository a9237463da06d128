FROM node AS base
ONBUILD ARG DIR=app
ONBUILD COPY --from=assets /a ./$DIR/
ONBUILD RUN <<EOT
npm install
EOT
ONBUILD ENV A=$DIR
FROM busybox AS assets
FROM base AS child
RUN echo $A
FROM child
RUN echo grandchild
