FROM tiny
ENV DIR=/from/env
WORKDIR $DIR/deep
WORKDIR ${MISSING:-rel}
RUN pwd >/where
