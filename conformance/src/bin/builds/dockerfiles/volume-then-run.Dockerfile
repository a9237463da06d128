FROM tiny
RUN mkdir /v && echo before >/v/before
VOLUME /v
RUN echo after >/v/after; rm /v/before
COPY a.txt /v/
