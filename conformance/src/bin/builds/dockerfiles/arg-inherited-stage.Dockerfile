FROM tiny AS base
ARG A=stage
ENV E=$A
FROM base
RUN echo "[$A] [$E]" >/inherited
