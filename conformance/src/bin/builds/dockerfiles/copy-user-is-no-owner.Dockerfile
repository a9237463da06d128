FROM tiny
USER guest
COPY a.txt /tmp/a.txt
COPY tree /new/
