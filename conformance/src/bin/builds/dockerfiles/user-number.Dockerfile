FROM tiny
RUN chmod 1777 /tmp
USER 4711
RUN id -u >/tmp/id; id -g >>/tmp/id; echo $HOME >>/tmp/id
