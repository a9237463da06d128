FROM tiny
COPY a.txt /f
RUN rm /f
COPY a.txt /f
