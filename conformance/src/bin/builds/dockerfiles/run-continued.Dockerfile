FROM tiny
RUN echo one \
    two \
# a comment between

    three >/words \
 && echo done
