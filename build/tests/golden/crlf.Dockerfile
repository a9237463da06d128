# escape=\
FROM alpine AS crlf

RUN a \
  # c
  b
COPY <<E /x
line
E
CMD ["x"]
