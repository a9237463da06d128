FROM tiny
RUN chmod 1777 /tmp
USER guest
RUN id -G >/tmp/groups; echo $HOME >>/tmp/groups
