FROM alpine
ARG VERSION
RUN true
COPY app-${VERSION:?must_be_given} \
     /app
