FROM tiny
# comment
ENV A=1 \
    B=2
RUN echo one \
  two >/f
CMD ["x"]
