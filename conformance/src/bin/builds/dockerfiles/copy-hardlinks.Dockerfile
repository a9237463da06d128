FROM tiny
COPY hard /hard
