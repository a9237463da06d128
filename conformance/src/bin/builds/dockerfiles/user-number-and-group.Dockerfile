FROM tiny
RUN chmod 1777 /tmp
USER 5:6
RUN id -u >/tmp/id; id -g >>/tmp/id
