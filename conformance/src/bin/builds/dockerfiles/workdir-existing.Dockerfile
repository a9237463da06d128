FROM tiny
RUN mkdir -m 700 /own && chown 1000:50 /own
WORKDIR /own
RUN touch f
