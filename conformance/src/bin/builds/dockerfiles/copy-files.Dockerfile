FROM tiny
COPY a.txt /
COPY a.txt b.txt /dir/
COPY a.txt /new/deep/name
COPY a.txt /new/deep/dir/
COPY program /bin/program
