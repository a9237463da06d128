FROM tiny
RUN mkdir -p /m/sub && touch /m/f
RUN chmod 700 /m && chmod 600 /m/f && chown 5:6 /m/sub
RUN chmod 4755 /m/f
