FROM tiny
COPY a.txt b.txt /etc/both
