FRM alpine
FROM a b c d
RUN --mout=type=cache x
COPY onlyone
ENV
ENV KEY
EXPOSE
  HEALTCHECK NONE
HEALTHCHECK TCP
ONBUILD FROM x
SHELL sh -c
ADD --chmod a b
RUN ["a", 1]
LABEL a=1 b \
   c=2
COPY --lnk a b
