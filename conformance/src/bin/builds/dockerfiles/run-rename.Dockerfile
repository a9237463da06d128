FROM tiny
RUN mkdir -p /d/e && echo f >/d/e/f
RUN mv /d /moved && mv /moved/e/f /moved/g
