FROM tiny
RUN mkdir /real && ln -s /real /way
WORKDIR /way/sub
RUN touch here
