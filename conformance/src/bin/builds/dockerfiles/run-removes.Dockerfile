FROM tiny
RUN mkdir -p /d/sub && echo 1 >/d/1 && echo 2 >/d/sub/2
RUN rm /d/1
RUN rm -r /d/sub && mkdir /d/sub && touch /d/sub/new
RUN rm -r /data
