FROM tiny
COPY odd /odd
