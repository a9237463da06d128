FROM tiny
RUN echo 'made:x:321:654::/:/bin/sh' >>/etc/passwd && echo 'makers:x:987:' >>/etc/group
COPY --chown=made:makers a.txt /a
COPY --chown=made a.txt /b
