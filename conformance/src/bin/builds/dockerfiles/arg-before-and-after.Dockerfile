FROM tiny
RUN echo "[$A]" >/before
ARG A=1
RUN echo "[$A]" >/after
ARG A=2
RUN echo "[$A]" >/again
