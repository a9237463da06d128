FROM keeper
RUN echo kept >/data/mine
