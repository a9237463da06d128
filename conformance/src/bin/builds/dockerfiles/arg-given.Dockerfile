FROM tiny
ARG A=default
ARG B=default
ARG C
RUN echo "$A $B $C" >/args
LABEL a=$A
