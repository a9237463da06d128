FROM tiny
COPY a.txt /f
COPY b.txt /f
RUN echo run >>/f
COPY a.txt /f
