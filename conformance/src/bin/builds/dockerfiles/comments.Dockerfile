# a comment at the top
FROM tiny
  # an indented one
RUN echo a # not a comment >/a; echo b >/b
# the last
