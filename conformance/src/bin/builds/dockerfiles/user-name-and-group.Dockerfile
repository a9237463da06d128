FROM tiny
RUN chmod 777 /data && chmod 1777 /tmp
USER guest:staff
RUN id >/tmp/id; touch /data/f
