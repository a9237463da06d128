FROM tiny
RUN echo "a << b" >/a; cat /a >>/b
