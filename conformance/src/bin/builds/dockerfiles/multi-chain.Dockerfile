FROM tiny AS a
ENV A=1
RUN echo a >/a
FROM a AS b
ENV B=2
RUN rm /a
FROM b AS c
RUN echo c >/c
FROM c
