FROM tiny
RUN mkdir /real && ln -s /real /way
COPY tree /way
